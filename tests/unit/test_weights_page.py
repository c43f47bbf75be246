"""docs/weights.md: the folds of one network gathered, every patient once."""

from __future__ import annotations

from pathlib import Path

import pytest
import scripts

from covidpipe import paths
from covidpipe.config import Config, load
from covidpipe.io.files import write_json, write_table
from covidpipe.registry import SHIPPED
from covidpipe.schemas import METRICS_IMAGES, SPLIT

ROOT = Path(__file__).parents[2]
PIXELS = ("true_positive_px", "false_positive_px", "true_negative_px", "false_negative_px")


@pytest.fixture(scope="module")
def script():
    with scripts.script("measure_folds") as module:
        yield module


def test_the_networks_that_ship_come_in_five_folds(script):
    folds = {}
    for study in ("weights", "real_cxr"):
        for name, recipes in script.families(load(ROOT / "config" / f"{study}.yaml")).items():
            folds[name] = sorted(recipe.fold for recipe in recipes.values())
    assert set(folds) == set(SHIPPED)
    assert folds.pop("xr_lungs") == [0]
    assert all(found == [0, 1, 2, 3, 4] for found in folds.values())


def study(folder: Path, **second) -> Config:
    recipe = {"task": "segment_infection", "dataset": "medseg829", "model": "compact_unet", "regime": "lung_view"}
    recipe |= {"image_size": 64, "fold": 0}
    return Config.model_validate(
        {"results": str(folder), "folds": 2, "training": {"net": recipe, "net_1": recipe | {"fold": 1} | second}}
    )


def test_folds_of_one_network_differ_in_nothing_else(script, tmp_path):
    assert {name: set(folds) for name, folds in script.families(study(tmp_path)).items()} == {"net": {"net", "net_1"}}
    assert set(script.families(study(tmp_path, width=0.5))) == {"net", "net_1"}


def test_pixels_of_all_folds_are_pooled_and_a_group_is_one_patient(script, tmp_path):
    config = study(tmp_path)
    counts = {"a": (10, 0, 80, 10), "b": (0, 10, 90, 0), "c": (30, 10, 50, 10)}
    percents = {"a": (10.0, 20.0), "b": (10.0, 0.0), "c": (40.0, 40.0)}
    folds = {"a": ("p", 0), "b": ("p", 0), "c": ("q", 1)}
    split = [{"image_id": i, "group": g, "fold": f, "protocol": "grouped"} for i, (g, f) in folds.items()]
    write_table(paths.split(config, "medseg829", "grouped"), split, SPLIT)
    for number, recipe in enumerate(config.training.values()):
        rows = []
        for image in (i for i, (_, fold) in folds.items() if fold == number):
            values = dict(zip(PIXELS, counts[image], strict=True))
            values |= dict(zip(("infection_percent", "true_infection_percent"), percents[image], strict=True))
            rows += [{"image_id": image, "patient_id": image, "measure": m, "value": v} for m, v in values.items()]
        write_table(paths.metrics(config, recipe) / "images.parquet", rows, METRICS_IMAGES)
    found = {row["measure"]: row for row in script.gathered(config, config.training.values())}
    assert found["pooled_dice"]["value"] == pytest.approx(2 * 40 / (2 * 40 + 20 + 20))
    assert found["pooled_dice"]["patients"] == 2
    assert found["infection_percent_mean_absolute_error"]["value"] == pytest.approx(20 / 3)
    assert found["infection_percent_mean_where_absent"]["value"] == 10
    # of the two with a lesion, one has no more than the 10 % that are found without
    assert found["infection_percent_roc_auc"]["value"] == 0.75
    assert script.line("net", 2, found["pooled_dice"])[:4] == ["`net`", 2, "Dice of all pixels", "0.667"]


def test_the_images_of_a_classifier_are_ranked_in_their_own_fold(script, tmp_path):
    recipe = {"task": "classify", "dataset": "medseg829", "model": "resnet18", "regime": "scratch_original", "fold": 0}
    recipe |= {"image_size": 64}
    config = Config.model_validate(
        {"results": str(tmp_path), "folds": 2, "training": {"net": recipe, "net_1": recipe | {"fold": 1}}}
    )
    # Each network ranks its own images rightly; the first says less of all of its own.
    said = {"a": (0.2, 1, 0), "b": (0.1, 0, 0), "c": (0.9, 1, 1), "d": (0.8, 0, 1)}
    split = [{"image_id": i, "group": i, "fold": s[2], "protocol": "grouped"} for i, s in said.items()]
    write_table(paths.split(config, "medseg829", "grouped"), split, SPLIT)
    for number, one in enumerate(config.training.values()):
        rows = []
        for image, (probability, label, fold) in said.items():
            if fold == number:
                values = {"covid_probability": probability, "label": label}
                rows += [{"image_id": image, "patient_id": image, "measure": m, "value": v} for m, v in values.items()]
        write_table(paths.metrics(config, one) / "images.parquet", rows, METRICS_IMAGES)
        write_json(paths.model(config, one) / "run.json", {"recipe": {"threshold": 0.5}})
    found = {row["measure"]: row for row in script.gathered(config, config.training.values())}
    assert found["roc_auc_within_folds"]["value"] == 1 and found["roc_auc"]["value"] == 0.75
    assert found["accuracy"]["value"] == 0.5 and found["accuracy"]["n"] == 4
