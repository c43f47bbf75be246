"""Every file or frame seen becomes a row, accepted or rejected. Synthetic patients are made here too."""


rule phantoms:
    output:
        ct=directory(RESULTS / "phantoms" / "{phantoms}" / "ct"),
        xr=directory(RESULTS / "phantoms" / "{phantoms}" / "xr"),
    log:
        log_of("phantoms", "{phantoms}"),
    benchmark:
        benchmark_of("phantoms", "{phantoms}")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(4_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(30, LARGEST.minutes),
    params:
        code=code_of("phantoms"),
        settings=phantom_settings,
        out=subpath(output.ct, parent=True),
    message:
        "Making synthetic patients: {wildcards.phantoms}"
    shell:
        "covidpipe phantoms --out {params.out:q} {params.settings} > {log:q} 2>&1"


checkpoint ingest:
    input:
        phantom_folders,
    output:
        images=RESULTS / "ingest" / "{name}" / "images.parquet",
        signatures=RESULTS / "ingest" / "{name}" / "signatures.parquet",
        # An earlier cut is kept to: images that were there stay in their shards.
        shards=update(RESULTS / "ingest" / "{name}" / "shards.parquet"),
    log:
        log_of("ingest", "{name}"),
    benchmark:
        benchmark_of("ingest", "{name}")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(120, LARGEST.minutes),
    params:
        code=code_of("ingest"),
        settings=settings_of("ingest"),
        config_file=CONFIG_FILE,
    message:
        "Reading the images of {wildcards.name}"
    shell:
        "covidpipe ingest {wildcards.name} --config {params.config_file:q} --out {output.images:q} > {log:q} 2>&1"
