"""Error of a cohort's percentages, where radiologists' (or the phantoms') masks tell the truth."""


rule score:
    input:
        images=images_of_cohort,
        table=table_of_cohort,
        masks=shard_files("masks.zarr"),
    output:
        images=RESULTS / "metrics" / "cohorts" / "{name}" / "images.parquet",
        summary=RESULTS / "metrics" / "cohorts" / "{name}" / "summary.parquet",
    log:
        log_of("score", "{name}"),
    benchmark:
        benchmark_of("score", "{name}")
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(4_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(30, LARGEST.minutes_of_a_pair),
    params:
        code=code_of("score"),
        settings=settings_of("score"),
        config_file=CONFIG_FILE,
        masks=shards_folder,
        out=subpath(output.summary, parent=True),
    message:
        "Comparing {wildcards.name} with its true masks"
    shell:
        "covidpipe score {wildcards.name} --config {params.config_file:q} --images {input.images:q} "
        "--table {input.table:q} --masks {params.masks:q} --out {params.out:q} > {log:q} 2>&1"
