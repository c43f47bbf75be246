"""Every network of a study under one protocol: what it costs beside how good it is."""


rule leaderboard:
    input:
        metrics=all_metrics(),
        models=all_models(),
        stores=stores_of_the_threshold(),
        references=published_numbers("leaderboard"),
    output:
        table=RESULTS / "leaderboard.parquet",
        csv=RESULTS / "leaderboard.csv",
        page=report(
            RESULTS / "leaderboard.md",
            caption="../report/leaderboard.rst",
            category="Networks",
        ),
        svg=RESULTS / "cost_against_quality.svg",
        png=RESULTS / "cost_against_quality.png",
    log:
        log_of("leaderboard"),
    benchmark:
        benchmark_of("leaderboard")
    conda:
        CONDA
    threads: 8  # all there are: nothing else may run where time is taken
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(60, LARGEST.minutes),
    params:
        code=code_of("leaderboard"),
        settings=settings_of("leaderboard"),
        config_file=CONFIG_FILE,
        out=subpath(output.table, parent=True),
        # The page that the repository shows is that of config/leaderboard.yaml.
        document=(
            ["--document", "docs/leaderboard.md"]
            if STUDY.study == "leaderboard"
            else []
        ),
    message:
        "Ranking the networks"
    shell:
        "covidpipe leaderboard --config {params.config_file:q} --out {params.out:q} {params.document:q} > {log:q} 2>&1"
