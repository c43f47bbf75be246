"""Lungs on films across sources: which film is tested when, and what is printed of it."""

from __future__ import annotations

import pytest
import scripts

from covidpipe import paths
from covidpipe.io.files import write_table
from covidpipe.schemas import METRICS_SUMMARY, SPLIT
from covidpipe.splits import parts


@pytest.fixture(scope="module")
def script():
    with scripts.script("measure_sources") as module:
        yield module


def test_each_source_is_tested_by_what_the_other_taught(script, tmp_path):
    films = [("a", "images/MCUCXR_0001_0.png"), ("b", "images/CHNCXR_0001_0.png"), ("c", "images/CHNCXR_0002_1.png")]
    rows = script.by_source(films)
    write_table(tmp_path / "split.parquet", rows, SPLIT)
    config = script.study(str(tmp_path))
    folds = [row["fold"] for row in rows]
    for recipe, wanted in zip(
        config.training.values(), (["test", "train", "train"], ["train", "test", "test"]), strict=True
    ):
        assert parts(folds, recipe.fold, config.folds, recipe.validation).tolist() == wanted
        assert script.NAMES[recipe.fold].endswith({0: "Montgomery", 1: "Shenzhen"}[recipe.fold])
    with pytest.raises(SystemExit, match=r"JPCLN001\.png: wanted a name that begins with MCUCXR or CHNCXR"):
        script.by_source([("d", "images/JPCLN001.png")])


def test_network_and_controls_are_told_for_both_directions(script, tmp_path):
    config = script.study(str(tmp_path))
    for recipe, value in zip(config.training.values(), (0.9, 0.8), strict=True):
        common = {"measure": "pooled_dice", "low": value - 0.1, "high": value + 0.05, "n": 138, "patients": 138}
        rows = [
            {"subject": "compact_unet@1", "role": "model", "value": value, **common},
            {"subject": "mean_mask", "role": "control", "value": 0.7, **common},
            {"subject": "compact_unet@1", "role": "model", **common, "measure": "weighted_iou", "value": 0.5},
        ]
        write_table(paths.metrics(config, recipe) / "summary.parquet", rows, METRICS_SUMMARY)
    text = script.told(config)
    assert "| Shenzhen to Montgomery | `compact_unet@1` | pooled_dice | 0.900 | 0.800 to 0.950 | 138 |" in text
    assert "| Montgomery to Shenzhen | mean mask | pooled_dice | 0.700 | 0.700 to 0.850 | 138 |" in text
    assert "weighted_iou" not in text
