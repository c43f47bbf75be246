"""The same networks under a random and a grouped split, side by side."""


rule leakage_page:
    input:
        summaries=all_metrics(),
        proofs=all_proofs(),
    output:
        page=RESULTS / "leakage.md",
    log:
        log_of("leakage"),
    benchmark:
        benchmark_of("leakage")
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(2_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(10, LARGEST.minutes),
    params:
        code=code_of("leakage"),
        settings=settings_of("leakage"),
        config_file=CONFIG_FILE,
    message:
        "Comparing random with grouped splits"
    shell:
        "covidpipe leakage --config {params.config_file:q} --out {output.page:q} > {log:q} 2>&1"
