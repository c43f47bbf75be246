"""A trained network on the patients that it has not seen."""


rule evaluate_model:
    input:
        model=RESULTS / "models" / MODEL_PATH / "model.keras",
        store=store_of_recipe,
        split=RESULTS / "splits" / "{dataset}" / "{protocol}.parquet",
        images=RESULTS / "ingest" / "{dataset}" / "images.parquet",
    output:
        images=RESULTS / "metrics" / MODEL_PATH / "images.parquet",
        summary=RESULTS / "metrics" / MODEL_PATH / "summary.parquet",
        reliability=RESULTS / "metrics" / MODEL_PATH / "reliability.parquet",
        card=report(
            RESULTS / "metrics" / MODEL_PATH / "card.md",
            caption="../report/model.rst",
            category="Networks",
            subcategory="Model cards",
            labels={"dataset": "{dataset}", "task": "{task}", "model": "{model}"},
        ),
    log:
        log_of("evaluate", MODEL_PATH),
    benchmark:
        benchmark_of("evaluate", MODEL_PATH)
    conda:
        CONDA
    threads: 8
    resources:
        mem_mb=grow_with_attempt(8_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(60, LARGEST.minutes),
    params:
        code=code_of("evaluate"),
        settings=settings_of("evaluate"),
        config_file=CONFIG_FILE,
        recipe=recipe_name,
        model=subpath(input.model, parent=True),
        store=subpath(input.store, parent=True),
        out=subpath(output.summary, parent=True),
    message:
        "Evaluating {params.recipe} on held-out patients of {wildcards.dataset}"
    shell:
        "covidpipe evaluate {params.recipe} --config {params.config_file:q} --model {params.model:q} "
        "--store {params.store:q} --split {input.split:q} --images {input.images:q} --out {params.out:q} "
        "> {log:q} 2>&1"
