"""Masks of one shard of a cohort; one writer a shard."""


rule predict:
    input:
        images=ancient(images_of_cohort),  # `made` tells if this shard's rows moved
        models=models_of_cohort,
        apart=ancient(proof_of_cohort),
    output:
        masks=directory("{cohort_out}/shards/{shard}/masks.zarr"),
        index="{cohort_out}/shards/{shard}/index.parquet",
        run="{cohort_out}/shards/{shard}/run.json",
    log:
        "{cohort_out}/logs/predict/{shard}.log",
    benchmark:
        "{cohort_out}/benchmarks/predict/{shard}.tsv"
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(60, LARGEST.minutes_of_a_pair),
    params:
        code=code_of("predict"),
        settings=settings_of("predict"),
        made=made_of_shard,
        config_file=CONFIG_FILE,
        cohort=cohort_name,
        out=subpath(output.index, parent=True),
    message:
        "Segmenting {params.cohort}, shard {wildcards.shard}"
    shell:
        "covidpipe predict {params.cohort} --config {params.config_file:q} --images {input.images:q} "
        "--shard {wildcards.shard} --out {params.out:q} > {log:q} 2>&1"
