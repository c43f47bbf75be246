"""One HTML page about a study's networks that opens offline."""


rule study:
    input:
        metrics=all_metrics(),
        models=all_models(),
    output:
        html=report(
            paths.study(STUDY),
            caption="../report/study.rst",
            category="Networks",
        ),
    log:
        log_of("study"),
    benchmark:
        benchmark_of("study")
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(4_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(30, LARGEST.minutes),
    params:
        code=code_of("study"),
        settings=settings_of("study"),
        config_file=CONFIG_FILE,
    message:
        "Writing the report of the networks"
    shell:
        "covidpipe study --config {params.config_file:q} --out {output.html:q} > {log:q} 2>&1"
