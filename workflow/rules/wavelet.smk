"""Khan et al.'s wavelet enhancement of a harmonized store."""


rule wavelet:
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
        store=directory(
            RESULTS / "wavelet" / "{name}" / "{size}" / "{reading}" / "images.zarr"
        ),
        index=RESULTS / "wavelet" / "{name}" / "{size}" / "{reading}" / "index.parquet",
    log:
        log_of("wavelet", "{name}", "{size}-{reading}"),
    benchmark:
        benchmark_of("wavelet", "{name}", "{size}-{reading}")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(120, LARGEST.minutes_of_a_pair),
    params:
        code=code_of("wavelet"),
        settings=settings_of("wavelet"),
        config_file=CONFIG_FILE,
        store=subpath(input.index, parent=True),
        out=subpath(output.index, parent=True),
    message:
        "Enhancing {wildcards.name} by wavelets ({wildcards.reading}, {wildcards.size} px)"
    shell:
        "covidpipe wavelet --config {params.config_file:q} --store {params.store:q} --reading {wildcards.reading} "
        "--size {wildcards.size} --out {params.out:q} > {log:q} 2>&1"
