"""Images of a dataset on one grid and one scale, with their masks."""


rule harmonize:
    input:
        images=RESULTS / "ingest" / "{name}" / "images.parquet",
    output:
        store=directory(RESULTS / "harmonized" / "{name}" / "{size}" / "images.zarr"),
        index=RESULTS / "harmonized" / "{name}" / "{size}" / "index.parquet",
    log:
        log_of("harmonize", "{name}", "{size}"),
    benchmark:
        benchmark_of("harmonize", "{name}", "{size}")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(120, LARGEST.minutes_of_a_pair),
    params:
        code=code_of("harmonize"),
        settings=settings_of("harmonize"),
        config_file=CONFIG_FILE,
        out=subpath(output.index, parent=True),
    message:
        "Harmonizing {wildcards.name} to {wildcards.size} px"
    shell:
        "covidpipe harmonize {wildcards.name} --config {params.config_file:q} --images {input.images:q} "
        "--size {wildcards.size} --out {params.out:q} --workers {threads} > {log:q} 2>&1"
