"""From masks to percentages, shard by shard, and one table of all shards."""


rule quantify:
    input:
        images=ancient(images_of_cohort),  # `made` tells if this shard's rows moved
        masks="{cohort_out}/shards/{shard}/masks.zarr",
        index="{cohort_out}/shards/{shard}/index.parquet",
        references=references_of_cohort,
        calibrations=calibrations_of_cohort,
    output:
        table="{cohort_out}/shards/{shard}/infection.parquet",
    log:
        "{cohort_out}/logs/quantify/{shard}.log",
    benchmark:
        "{cohort_out}/benchmarks/quantify/{shard}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(4_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(30, LARGEST.minutes_of_a_pair),
    params:
        code=code_of("quantify"),
        settings=settings_of("quantify"),
        made=made_of_shard,
        config_file=CONFIG_FILE,
        cohort=cohort_name,
        masks=subpath(input.index, parent=True),
    message:
        "Quantifying {params.cohort}, shard {wildcards.shard}"
    shell:
        "covidpipe quantify {params.cohort} --config {params.config_file:q} --images {input.images:q} "
        "--masks {params.masks:q} --shard {wildcards.shard} --out {output.table:q} "
        "--references {input.references:q} --calibrations {input.calibrations:q} > {log:q} 2>&1"


rule collect:
    input:
        images=images_of_cohort,
        shards=shard_files("infection.parquet"),
        covariates=covariates_of_cohort,
    output:
        table="{cohort_out}/infection.parquet",
        patients="{cohort_out}/patients.parquet",
        summary="{cohort_out}/summary.parquet",
        rejected="{cohort_out}/rejected.parquet",
        codebook=report(
            "{cohort_out}/codebook.csv",
            caption="../report/codebook.rst",
            category="Tables",
        ),
        package="{cohort_out}/datapackage.json",
        crate="{cohort_out}/ro-crate-metadata.json",
        run="{cohort_out}/run.json",
    log:
        "{cohort_out}/logs/collect.log",
    benchmark:
        "{cohort_out}/benchmarks/collect.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(30, LARGEST.minutes_of_a_pair),
    params:
        code=code_of("collect"),
        settings=settings_of("collect"),
        config_file=CONFIG_FILE,
        cohort=cohort_name,
        out=subpath(output.table, parent=True),
        shards=shards_folder,
    message:
        "Collecting the table of {params.cohort}"
    shell:
        "covidpipe collect {params.cohort} --config {params.config_file:q} --images {input.images:q} "
        "--out {params.out:q} {params.shards:q} > {log:q} 2>&1"


# A table of more rows than the config's file_rows is a folder: `table_of_cohort` says which of the two rules is asked.
use rule collect as collect_large with:
    output:
        table=directory("{cohort_out}/infection"),
    log:
        "{cohort_out}/logs/collect_large.log",
    benchmark:
        "{cohort_out}/benchmarks/collect_large.tsv"
