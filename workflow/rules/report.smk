"""One HTML page of a cohort that opens offline."""


rule report:
    input:
        images=images_of_cohort,
        table=table_of_cohort,
        masks=shard_files("masks.zarr"),
        metrics=metrics_of_cohort,
        patients="{cohort_out}/patients.parquet",
        summary="{cohort_out}/summary.parquet",
        models=models_of_cohort,
        calibrations=calibrations_of_cohort,
    output:
        html=report(
            "{cohort_out}/report.html",
            caption="../report/cohort.rst",
            category="Cohorts",
        ),
    log:
        "{cohort_out}/logs/report.log",
    benchmark:
        "{cohort_out}/benchmarks/report.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(4_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(30, LARGEST.minutes),
    params:
        code=code_of("report"),
        settings=settings_of("report"),
        config_file=CONFIG_FILE,
        cohort=cohort_name,
        masks=shards_folder,
        metrics=folders_of("metrics"),
    message:
        "Writing the report of {params.cohort}"
    shell:
        "covidpipe report {params.cohort} --config {params.config_file:q} --images {input.images:q} "
        "--table {input.table:q} --patients {input.patients:q} --summary {input.summary:q} --masks {params.masks:q} "
        "--metrics {params.metrics:q} --calibrations {input.calibrations:q} --heat --out {output.html:q} "
        "> {log:q} 2>&1"
