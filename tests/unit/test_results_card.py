"""The card of an evaluated network: every figure from the records, every item of the checklists answered."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tiny_cohort as tiny

from covidpipe.config import parse
from covidpipe.harmonize import Transform
from covidpipe.io.files import file_sha256, read_json, read_table, write_json, write_table
from covidpipe.io.store import write_store
from covidpipe.schemas import IMAGES, METRICS_IMAGES, METRICS_SUMMARY, RELIABILITY, SPLIT, STORE_INDEX
from covidpipe.training.checklist import items
from covidpipe.training.results_card import full_card

PATIENTS, IMAGES_EACH = 18, 2
N = PATIENTS * IMAGES_EACH


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A store of drawn chests, half of them ill; two networks of one layer whose records tell a training."""
    folder = tmp_path_factory.mktemp("study")
    ill = np.arange(N) // IMAGES_EACH % 2 == 0
    drawn = [tiny.chest(360 if sick else 0) for sick in ill]
    ids = [f"image-{i:02d}" for i in range(N)]
    groups = [f"patient-{i // IMAGES_EACH}" for i in range(N)]
    index = [
        {
            "n": i,
            "image_id": ids[i],
            "label": bool(ill[i]),
            "has_lung_mask": True,
            "has_infection_mask": True,
            **Transform.fit(tiny.SIZE, tiny.SIZE, tiny.SIZE).as_dict(),
        }
        for i in range(N)
    ]
    arrays = dict(
        zip(
            ("image", "lung_mask", "infection_mask"),
            (np.array(a, np.uint8) for a in zip(*drawn, strict=True)),
            strict=True,
        )
    )
    sizes = dict.fromkeys(arrays, (tiny.SIZE, tiny.SIZE))
    write_store(folder / "store", "images.zarr", index, STORE_INDEX, [arrays], sizes, N, N)
    folds = [i // IMAGES_EACH % 3 for i in range(N)]
    split = [{"image_id": ids[i], "group": groups[i], "fold": folds[i], "protocol": "grouped"} for i in range(N)]
    write_table(folder / "split.parquet", split, SPLIT)
    seen = [
        {"image_id": ids[i], "patient_id": groups[i], "path": "x", "frame": 0, "accepted": True, "warnings": [],
         "row_spacing_mm": 2.0, "column_spacing_mm": 2.0}
        for i in range(N)
    ]  # fmt: skip
    write_table(folder / "images.parquet", seen, IMAGES)
    recipes = {
        "screening": {"task": "classify", "model": "cov_ctnet", "regime": "scratch_original"},
        "infection": {"task": "segment_infection", "model": "cov_raseg", "regime": "scratch"},
    }
    common = {"dataset": "phantom-ct", "image_size": tiny.SIZE, "schedule": "s"}
    raw = {
        "folds": 3,
        "training": {name: recipe | common for name, recipe in recipes.items()},
        "schedules": {"s": {"epochs": 4, "batch_size": 2, "learning_rate": 0.1}},
    }
    config = parse(raw, "test")
    for name, recipe in config.training.items():
        made = tiny.write_model(folder / name, recipe.task)
        record = read_json(made / "run.json")
        record["recipe"] |= {**recipe.model_dump(), "folds": 3, "seed": 7, "modality": "ct"}
        if recipe.task == "classify":
            record["recipe"]["temperature"] = 4.0
        counts = {part: {"images": 12, "patients": 6} for part in ("train", "validation", "test")}
        record |= {
            "schedule": config.schedules["s"].model_dump(), "counts": counts, "parameters": 4, "best_epoch": 2,
            "validation_measure": "ROC AUC", "validation_score": 0.9, "seed": 7, "wall_seconds": 60.0, "code": "c0de",
            "device": "2 CPU cores", "covidpipe": "0.1.0", "python": "3.11", "packages": {"keras": "3"},
            "command": "covidpipe train a|b",
        }  # fmt: skip
        write_json(made / "run.json", record)
    return folder, config


@pytest.fixture(scope="module", params=["screening", "infection"])
def evaluated(request, study):
    from covidpipe.stages import evaluate

    folder, config = study
    out = folder / "out" / request.param
    args = (folder / request.param, folder / "store", folder / "split.parquet", folder / "images.parquet", out)
    evaluate.run(config, request.param, *args)
    return request.param, out, folder / request.param


def test_an_evaluation_from_its_files_to_its_files(evaluated):
    name, out, model = evaluated
    summary = read_table(out / "summary.parquet", METRICS_SUMMARY).to_pylist()
    per_image = read_table(out / "images.parquet", METRICS_IMAGES).to_pylist()
    reliability = read_table(out / "reliability.parquet", RELIABILITY).to_pylist()
    network = next(row["subject"] for row in summary if row["role"] == "model")
    assert network.endswith(file_sha256(model / "model.keras")[:12])
    own = {row["measure"]: row for row in summary if row["role"] == "model"}
    assert {row["patients"] for row in own.values()} <= {3, 6} and len({row["image_id"] for row in per_image}) == 12
    if name == "screening":
        assert own["accuracy"]["value"] == own["roc_auc"]["value"] == 1.0 and own["roc_auc"]["low"] < 1
        # a temperature of 4 takes the certainty of a network that is right: its Brier score grows
        assert own["brier"]["value"] > own["brier_before_temperature"]["value"]
        assert {row["temperature"] for row in reliability} == {1.0, 4.0}
    else:
        assert own["pooled_dice"]["value"] < 0.5, "it marks the body too"
        assert own["mean_hausdorff95_mm_where_present"]["value"] == pytest.approx(
            2 * own["mean_hausdorff95_px_where_present"]["value"]
        )
        assert not reliability


def test_the_card_tells_results_controls_and_checklists(evaluated):
    name, out, _ = evaluated
    card = (out / "card.md").read_text(encoding="utf-8")
    summary = read_table(out / "summary.parquet", METRICS_SUMMARY).to_pylist()
    for row in summary:
        if row["role"] == "model":
            (line,) = [line for line in card.splitlines() if line.startswith(f"| {row['measure']} |")]
            assert f"{row['value']:.3f}" in line
    assert not re.search(r"\| (None|nan) \||(None|nan) to", card)
    verdict = next(row for row in summary if row["role"] == "model" and row["measure"] == LEADING[name])
    assert f"- {LEADING[name]} {verdict['value']:.3f}: {verdict['remark']}" in card
    assert ("## Calibration" in card) == ("divided by 4," in card) == (name == "screening")
    listed = re.findall(r"^\| (\d+) \| \S+.*? \| .+ \| (.+) \|$", card, re.MULTILINE)
    assert [int(number) for number, _ in listed] == list(range(1, 43))
    assert r"`covidpipe train a\|b`" in card  # a cell ends where it should


LEADING = {"screening": "roc_auc", "infection": "pooled_dice"}


def test_answers_follow_the_records(study):
    folder, _ = study
    record = read_json(folder / "screening" / "run.json")

    def answers(**changes):
        changed = {**record, "recipe": {**record["recipe"], **changes.pop("recipe", {})}, **changes}
        return {item.claim: item.answer for item in items(changed, {"patients": 6}, [])}

    assert "augmentation standard, 60 s; all of it" in answers()["25"]
    halved = {**record["schedule"], "precision": "mixed_bfloat16"}
    assert "60 s, in bfloat16; all of it" in answers(schedule=halved)["25"]
    assert answers()["21"].startswith("The patient") and answers()["24"] == "At random, seed 7."
    assert answers(recipe={"protocol": "published"})["21"].startswith("The image only: a patient may stand on both")
    parent = {"name": "first", "weights_sha256": "ab" * 32}
    assert answers(parent=parent)["24"] == "From the network `first`, weights `abababababab`."
    imagenet = {"network": "resnet18", "file": "f", "url": "u", "sha256": "cd" * 32}
    assert "ImageNet weights of `resnet18`" in answers(imagenet=imagenet)["24"]
    unknown = [number for number, answer in answers().items() if answer.startswith("Not known")]
    assert unknown == ["8", "15", "16", "17", "18", "34", "40", "42"]
    assert all(re.match(r"Not known: .{10,}", answers()[number]) for number in unknown)


def test_a_network_without_a_temperature_says_so(study):
    folder, _ = study
    record = read_json(folder / "screening" / "run.json")
    del record["recipe"]["temperature"]
    rows = [
        {"subject": "net", "temperature": 1.0, "bin": 0, "lowest": 0.1, "highest": 0.3, "mean_probability": 0.2,
         "share": 0.25, "low": 0.1, "high": 0.5, "n": 12, "k": 3, "patients": 6, "interval": "Wilson, 6 patients"}
    ]  # fmt: skip
    card = full_card(record, {"patients": 6}, [], rows)
    assert (
        "No temperature was fitted" in card and "| 0.10 to 0.30 | 0.200 | 0.250 | 0.100 to 0.500 | 3/12 | 6 |" in card
    )
    assert "| temperature |" not in card
