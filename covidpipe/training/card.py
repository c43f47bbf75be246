"""The model card: what a network is, what it was trained on, and what it must not be used for; filled from the run."""

from __future__ import annotations

from typing import Any

from covidpipe.registry import DATASETS, MODELS, PARTS

TASK_TEXT = {
    "classify": "says how probable COVID-19 infection is in one image",
    "segment_lungs": "marks the lungs in one image",
    "segment_infection": "marks infected lung in one image",
}


def model_card(record: dict[str, Any]) -> str:
    """Markdown from a model folder's run record.

    Parameters
    ----------
    record : dict
        The content of ``run.json``: recipe, schedule, counts, validation.

    Returns
    -------
    str
    """
    recipe, counts = record["recipe"], record["counts"]
    dataset = DATASETS[recipe["dataset"]]
    rows = "\n".join(f"| {part} | {counts[part]['images']} | {counts[part]['patients']} |" for part in PARTS)
    return f"""# {recipe["model"]} for {recipe["task"]}

A network that {TASK_TEXT[recipe["task"]]} ({recipe["modality"]}). Research use only; it is not a medical device and
its output is no diagnosis.

| | |
|---|---|
| architecture | `{recipe["model"]}`, width {recipe["width"]:g}, {record["parameters"]:,} trainable parameters |
| source | {MODELS[recipe["model"]].reference} |
| input | {recipe["image_size"]} x {recipe["image_size"]} x {recipe["channels"]}, {recipe["input"]}\
{f" ({recipe['reading']})" if recipe["input"] == "wavelet" else ""}, 0 to 1 |
| regime | `{recipe["regime"]}` |{_start(record.get("imagenet"))}
| threshold | {recipe["threshold"]:g}, chosen on validation patients |
| weights | sha256 `{record["weights_sha256"]}` |
| best epoch | {record["best_epoch"] + 1} of {record["schedule"]["epochs"]}, by validation \
{record["validation_measure"]} {record["validation_score"]:.4f} |

## Data

{dataset.text}.

**License of the data: {dataset.licence}. Weights trained on non-commercial or share-alike data carry the same terms.**

Split `{recipe["protocol"]}`, fold {recipe["fold"]} of {recipe["folds"]} held out for the test, the next fold for \
validation.

| part | images | groups (patients) |
|---|---|---|
{rows}

## Training

{record["schedule"]["epochs"]} epochs, batch {record["schedule"]["batch_size"]}, {record["schedule"]["optimizer"]} at \
{record["schedule"]["learning_rate"]:g} ({record["schedule"]["decay"]}), loss {record["schedule"]["loss"]}, seed \
{record["seed"]}, {record["wall_seconds"] / 60:.0f} minutes on {record["device"]}.

Made by `{record["command"]}`, covidpipe {record["covidpipe"]}, code `{record["code"]}`.

## Known limits

- A width below 1 and a short schedule are for small machines; they are not the papers' networks at their best.
- Trained on one collection: other scanners, windows, ages and diseases may fail without a warning.
- A percentage of one slice is not the percentage of a patient.
"""


def _start(imagenet: dict[str, str] | None) -> str:
    if imagenet is None:
        return ""
    network, file, sha256 = imagenet["network"], imagenet["file"], imagenet["sha256"]
    return f"\n| started from | ImageNet weights of `{network}`, `{file}`, sha256 `{sha256}` |"


def with_test_results(card: str, summary: list[dict[str, Any]]) -> str:
    """The card with the rows of a METRICS_SUMMARY table: what the network did on patients it had not seen.

    Parameters
    ----------
    card : str
    summary : list of dict
        Rows of the METRICS_SUMMARY table, trivial controls included.

    Returns
    -------
    str
    """
    rows = "\n".join(map(_result, summary))
    return f"""{card}
## Results on the test part

Intervals are 95 %: Wilson's for proportions (k/n), else by resampling patients, and with few patients too narrow.
Rows without a hash are answers that need no network.

| subject | measure | value | interval | n | patients |
|---|---|---|---|---|---|
{rows}
"""


def _result(row: dict[str, Any]) -> str:
    trials = f"{row['n']}" if row["k"] is None else f"{row['k']}/{row['n']}"
    interval = f"{_number(row['low'])} to {_number(row['high'])}"
    return (
        f"| {row['subject']} | {row['measure']} | {_number(row['value'])} | {interval} | {trials} | {row['patients']} |"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
