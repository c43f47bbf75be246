"""The model card: what a network is, what it was trained on, and what it must not be used for; filled from the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidpipe.registry import DATASETS, MODELS, PARTS
from covidpipe.words import duration

TASK_TEXT = {
    "classify": "says how probable disease is in one image",
    "segment_lungs": "marks the lungs in one image",
    "segment_infection": "marks infected lung in one image",
}
PRECISIONS = {"float32": "", "mixed_bfloat16": ", in bfloat16"}


def code_in_words(record: Mapping[str, Any]) -> str:
    """What code a run was made by: its commit, where that is known, and the fingerprint of what it ran.

    >>> code_in_words({"commit": "b92b8436f968b0d9d86a+", "code": "5380ebe7ac4ae361"})
    'commit `b92b8436f968` with changes, code `5380ebe7ac4ae361`'
    """
    commit = record.get("commit")
    changed = " with changes" * (commit is not None and commit.endswith("+"))
    return f"{f'commit `{commit[:12]}`{changed}, ' if commit else ''}code `{record['code']}`"


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

A network that {TASK_TEXT[recipe["task"]]} ({recipe["modality"]}{_disease(recipe)}). Research use only; it is not a \
medical device and its output is no diagnosis.

| | |
|---|---|
| architecture | `{recipe["model"]}`, width {recipe["width"]:g}, {record["parameters"]:,} trainable parameters |
| source | {MODELS[recipe["model"]].reference} |
| input | {recipe["image_size"]} x {recipe["image_size"]} x {recipe["channels"]}, {recipe["input"]}\
{f" ({recipe['reading']})" if recipe["input"] == "wavelet" else ""}, 0 to 1 |
| regime | `{recipe["regime"]}` |{_start(record.get("imagenet"))}
| threshold | {recipe["threshold"]:.4g}, {_chosen(record)} |{_temperature(recipe)}
| weights | sha256 `{record["weights_sha256"]}` |
| kept epoch | {record["best_epoch"] + 1} of {record["schedule"]["epochs"]}, {_kept(record)} |

## Data

{dataset.text}.

**License of the data: {dataset.licence}. Weights trained on non-commercial or share-alike data carry the same terms.**

Split `{recipe["protocol"]}`, fold {recipe["fold"]} of {recipe["folds"]} held out for the test, \
{_rest(record)}.{_flattery(recipe)}

| part | images | groups (patients) |
|---|---|---|
{rows}

## Training

{record["schedule"]["epochs"]} epochs, batch {record["schedule"]["batch_size"]}, {record["schedule"]["optimizer"]} at \
{record["schedule"]["learning_rate"]:g} ({record["schedule"]["decay"]}), loss {record["schedule"]["loss"]}, seed \
{record["seed"]}, {duration(record["wall_seconds"])} on {record["device"]}\
{PRECISIONS[record["schedule"].get("precision", "float32")]}.

Made by `{record["command"]}`, covidpipe {record["covidpipe"]}, {code_in_words(record)}.

## Known limits

- A width below 1 and a short schedule are for small machines; they are not the papers' networks at their best.
- Trained on one collection: other scanners, windows, ages and diseases may fail without a warning.{_limits(recipe)}
- A percentage of one slice is not the percentage of a patient.
"""


def _disease(recipe: dict[str, Any]) -> str:
    return f"; disease: {DATASETS[recipe['dataset']].positive}" if recipe["task"] == "classify" else ""


def _limits(recipe: dict[str, Any]) -> str:
    limits = DATASETS[recipe["dataset"]].limits
    return f"\n- {limits}" if limits else ""


def _flattery(recipe: dict[str, Any]) -> str:
    if recipe["protocol"] == "grouped":
        return ""
    return (
        "\n\n**Split by single images, as published: images of one patient stand on both sides. These results are for "
        "comparison with the paper only; they do not tell how the network does on patients it has not seen.**"
    )


def _start(imagenet: dict[str, str] | None) -> str:
    if imagenet is None:
        return ""
    network, file, sha256 = imagenet["network"], imagenet["file"], imagenet["sha256"]
    return f"\n| started from | ImageNet weights of `{network}`, `{file}`, sha256 `{sha256}` |"


def _chosen(record: dict[str, Any]) -> str:
    return "not chosen" if record["validation_score"] is None else "chosen on validation patients"


def _kept(record: dict[str, Any]) -> str:
    mean = record["schedule"].get("average")
    weights = f"; a running mean of the weights (momentum {mean:g})" if mean else ""
    if record["validation_score"] is None:
        return f"the last{weights}"
    by = "the last, with" if record["schedule"].get("keep") == "last" else "by"
    return f"{by} validation {record['validation_measure']} {record['validation_score']:.4f}{weights}"


def _rest(record: dict[str, Any]) -> str:
    if record["validation_score"] is None:
        return "all others trained on, none for validation"
    return "the next fold for validation"


def _temperature(recipe: dict[str, Any]) -> str:
    if "temperature" not in recipe or recipe["task"] != "classify":
        return ""
    return (
        f"\n| temperature | {recipe['temperature']:.4g}, fitted on validation patients; the threshold is meant for it |"
    )
