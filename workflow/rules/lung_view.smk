"""The lungs of a harmonized store, cut out and with grey levels of their own."""


rule lung_view:
    input:
        store=RESULTS
        / "harmonized"
        / "{name}"
        / str(STUDY.harmonize.source_size)
        / "images.zarr",
        index=RESULTS
        / "harmonized"
        / "{name}"
        / str(STUDY.harmonize.source_size)
        / "index.parquet",
    output:
        store=directory(RESULTS / "lung_view" / "{name}" / "{size}" / "images.zarr"),
        index=RESULTS / "lung_view" / "{name}" / "{size}" / "index.parquet",
    log:
        log_of("lung_view", "{name}", "{size}"),
    benchmark:
        benchmark_of("lung_view", "{name}", "{size}")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(120, LARGEST.minutes_of_a_pair),
    params:
        code=code_of("lung_view"),
        settings=settings_of("lung_view"),
        config_file=CONFIG_FILE,
        store=subpath(input.index, parent=True),
        out=subpath(output.index, parent=True),
    message:
        "Cutting out the lungs of {wildcards.name} ({wildcards.size} px)"
    shell:
        "covidpipe lung_view --config {params.config_file:q} --store {params.store:q} "
        "--size {wildcards.size} --out {params.out:q} > {log:q} 2>&1"
