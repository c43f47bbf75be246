"""One network, one job; on a cluster one GPU (see the profile)."""

MODEL_PATH = Path(
    "{dataset}", "{task}", "{model}", "{regime}", "{protocol}", "fold-{fold}"
)


rule train_model:
    input:
        store=store_of_recipe,
        split=RESULTS / "splits" / "{dataset}" / "{protocol}.parquet",
        images=RESULTS / "ingest" / "{dataset}" / "images.parquet",
        parent=parent_of_recipe,
        apart=proof_of_recipe,
    output:
        model=RESULTS / "models" / MODEL_PATH / "model.keras",
        history=RESULTS / "models" / MODEL_PATH / "history.parquet",
        run=RESULTS / "models" / MODEL_PATH / "run.json",
        card=RESULTS / "models" / MODEL_PATH / "card.md",
    log:
        log_of("train", MODEL_PATH),
    benchmark:
        benchmark_of("train", MODEL_PATH)
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(16_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(240, LARGEST.minutes),
    params:
        code=code_of("train"),
        settings=settings_of("train"),
        config_file=CONFIG_FILE,
        recipe=recipe_name,
        store=subpath(input.store, parent=True),
        out=subpath(output.model, parent=True),
    message:
        "Training {params.recipe}: {wildcards.model} on {wildcards.dataset} ({wildcards.regime})"
    shell:
        "covidpipe train {params.recipe} --config {params.config_file:q} --store {params.store:q} "
        "--split {input.split:q} --images {input.images:q} --out {params.out:q} > {log:q} 2>&1"
