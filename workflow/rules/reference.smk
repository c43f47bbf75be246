"""What a study's methods find in lesion-free images that its networks have not learned from."""


rule reference:
    input:
        images=images_of_reference,
        models=models_of_reference,
        splits=splits_of_reference,
    output:
        RESULTS / "references" / STUDY.study / "{modality}.json",
    log:
        log_of("reference", STUDY.study, "{modality}"),
    benchmark:
        benchmark_of("reference", STUDY.study, "{modality}")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(60, LARGEST.minutes_of_a_pair),
    params:
        code=code_of("reference"),
        settings=settings_of("reference"),
        config_file=CONFIG_FILE,
        datasets=datasets_of_reference,
    message:
        "Quantifying lesion-free images ({wildcards.modality})"
    shell:
        "covidpipe reference {wildcards.modality} {params.datasets} --config {params.config_file:q} "
        "--out {output:q} > {log:q} 2>&1"
