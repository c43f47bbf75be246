"""How far a study's methods are from the truth on held-out patients: what intervals are made of."""


rule conformal:
    input:
        images=images_of_calibration,
        models=models_of_reference,
        splits=splits_of_reference,
        apart=proofs_of_calibration,
    output:
        RESULTS / "conformal" / STUDY.study / "{modality}.json",
    log:
        log_of("conformal", STUDY.study, "{modality}"),
    benchmark:
        benchmark_of("conformal", STUDY.study, "{modality}")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(60, LARGEST.minutes_of_a_pair),
    params:
        code=code_of("conformal"),
        settings=settings_of("conformal"),
        config_file=CONFIG_FILE,
        sources=sources_of_calibration,
    message:
        "Measuring how far the methods are off ({wildcards.modality})"
    shell:
        "covidpipe conformal {wildcards.modality} {params.sources} --config {params.config_file:q} "
        "--out {output:q} > {log:q} 2>&1"
