"""Folds that no patient and no copy of an image crosses, and the proof of it before a network is trained or used."""


rule duplicates:
    input:
        images=lists_of_sources("images.parquet"),
        signatures=lists_of_sources("signatures.parquet"),
    output:
        pairs=RESULTS / "duplicates" / "{name}" / "{other}.parquet",
    log:
        log_of("duplicates", "{name}", "{other}"),
    benchmark:
        benchmark_of("duplicates", "{name}", "{other}")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(60, LARGEST.minutes),
    params:
        code=code_of("duplicates"),
        settings=settings_of("duplicates"),
    message:
        "Looking for copies: {wildcards.name}, {wildcards.other}"
    shell:
        "covidpipe duplicates {wildcards.name} {wildcards.other} --images {input.images:q} "
        "--signatures {input.signatures:q} --out {output.pairs:q} > {log:q} 2>&1"


rule split:
    input:
        images=RESULTS / "ingest" / "{dataset}" / "images.parquet",
        duplicates=RESULTS / "duplicates" / "{dataset}" / "{dataset}.parquet",
    output:
        split=RESULTS / "splits" / "{dataset}" / "{protocol}.parquet",
    log:
        log_of("split", "{dataset}", "{protocol}"),
    benchmark:
        benchmark_of("split", "{dataset}", "{protocol}")
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(4_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(30, LARGEST.minutes),
    params:
        code=code_of("split"),
        settings=settings_of("split"),
        config_file=CONFIG_FILE,
    message:
        "Splitting {wildcards.dataset} ({wildcards.protocol})"
    shell:
        "covidpipe split {wildcards.dataset} --config {params.config_file:q} --images {input.images:q} "
        "--duplicates {input.duplicates:q} --protocol {wildcards.protocol} --out {output.split:q} > {log:q} 2>&1"


rule apart:
    input:
        files_apart,
    output:
        proof=RESULTS / "apart" / STUDY.study / "{kind}" / "{who}.json",
    log:
        log_of("apart", "{kind}", "{who}"),
    benchmark:
        benchmark_of("apart", "{kind}", "{who}")
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(4_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(30, LARGEST.minutes),
    params:
        code=code_of("apart"),
        settings=settings_of("apart"),
        config_file=CONFIG_FILE,
    message:
        "Proving that what {wildcards.who} is judged on is new to it"
    shell:
        "covidpipe apart {wildcards.kind} {wildcards.who} --config {params.config_file:q} --out {output.proof:q} "
        "> {log:q} 2>&1"
