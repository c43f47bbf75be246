"""Folds that no patient and no copy of an image crosses."""


rule split:
    input:
        images=RESULTS / "ingest" / "{dataset}" / "images.parquet",
    output:
        split=RESULTS / "splits" / "{dataset}" / "{protocol}.parquet",
    log:
        log_of("split", "{dataset}", "{protocol}"),
    benchmark:
        benchmark_of("split", "{dataset}", "{protocol}")
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(4_000),
        runtime=grow_with_attempt(30),
    params:
        code=code_of("split"),
        settings=settings_of("split"),
        config_file=CONFIG_FILE,
    message:
        "Splitting {wildcards.dataset} ({wildcards.protocol})"
    shell:
        "covidpipe split {wildcards.dataset} --config {params.config_file:q} --images {input.images:q} "
        "--protocol {wildcards.protocol} --out {output.split:q} > {log:q} 2>&1"
