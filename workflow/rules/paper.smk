"""Both papers regenerated: published numbers beside recomputed ones, and what the published ones say of each other."""

PAPER = RESULTS / "paper"


rule checks:
    input:
        alom2020=published_numbers("alom2020"),
        khan2020=published_numbers("khan2020"),
    output:
        table=PAPER / "checks" / "checks.parquet",
        csv=PAPER / "checks" / "checks.csv",
        page=PAPER / "checks" / "checks.md",
    log:
        log_of("checks"),
    benchmark:
        benchmark_of("checks")
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(2_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(10, LARGEST.minutes),
    params:
        code=code_of("checks"),
        settings=settings_of("checks"),
        published=subpath(input.khan2020, parent=True),
        out=subpath(output.table, parent=True),
    message:
        "Checking the printed numbers against each other"
    shell:
        "covidpipe checks --published {params.published:q} --out {params.out:q} > {log:q} 2>&1"


rule frames:
    output:
        table=PAPER / "frames" / "frames.parquet",
        svg=PAPER / "frames" / "border_effect.svg",
        png=PAPER / "frames" / "border_effect.png",
    log:
        log_of("frames"),
    benchmark:
        benchmark_of("frames")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(6_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(30, LARGEST.minutes),
    params:
        code=code_of("frames"),
        settings=settings_of("frames"),
        config_file=CONFIG_FILE,
        out=subpath(output.table, parent=True),
    message:
        "Scoring the authors' weights and a border painter in three ways"
    shell:
        "covidpipe frames --config {params.config_file:q} --out {params.out:q} > {log:q} 2>&1"


rule paper:
    input:
        checks=PAPER / "checks" / "checks.parquet",
        frames=frames_of_the_authors(),
        alom2020=published_numbers("alom2020"),
        khan2020=published_numbers("khan2020"),
        metrics=all_metrics(),
        models=all_models(),
        study=study_page(),
    output:
        page=report(
            PAPER / "both" / "reproduction.md",
            caption="../report/paper.rst",
            category="Papers",
        ),
        khan2020=directory(PAPER / "both" / "khan2020"),
        alom2020=directory(PAPER / "both" / "alom2020"),
    log:
        log_of("paper"),
    benchmark:
        benchmark_of("paper")
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(60, LARGEST.minutes),
    params:
        code=code_of("paper"),
        settings=settings_of("paper"),
        config_file=CONFIG_FILE,
        out=subpath(output.page, parent=True),
    message:
        "Writing the papers' tables and figures"
    shell:
        "covidpipe paper --config {params.config_file:q} --checks {input.checks:q} --frames {input.frames:q} "
        "--out {params.out:q} > {log:q} 2>&1"
