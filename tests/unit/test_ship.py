"""Shipping a trained network: the folder, and a card that tells its test results."""

from __future__ import annotations

import pytest

from covidpipe import paths
from covidpipe.config import parse
from covidpipe.errors import CovidpipeError
from covidpipe.io.files import write_table
from covidpipe.schemas import METRICS_SUMMARY
from covidpipe.stages import ship

RECIPE = {
    "task": "segment_lungs",
    "dataset": "phantom-ct",
    "model": "nabla3",
    "regime": "scratch",
    "image_size": 32,
    "schedule": "s",
}


def study(tmp_path, name):
    schedules = {"s": {"epochs": 1, "batch_size": 1, "learning_rate": 0.1}}
    raw = {"results": str(tmp_path / "results"), "training": {name: RECIPE}, "schedules": schedules}
    return parse(raw, "test")


def test_the_card_tells_the_test_results(tmp_path):
    config = study(tmp_path, "ct_lungs")
    recipe = config.training["ct_lungs"]
    folder = paths.model(config, recipe)
    folder.mkdir(parents=True)
    for file in ("model.keras", "history.parquet", "run.json"):
        (folder / file).write_text(file)
    (folder / "card.md").write_text("# A card\n")
    row = {"subject": "net@1", "n": 9, "patients": 2}
    rows = [
        {**row, "measure": "pooled_dice", "value": 0.91, "low": 0.9, "high": 0.92, "k": None},
        {**row, "measure": "sensitivity", "value": None, "low": None, "high": None, "k": 0},
    ]
    with pytest.raises(CovidpipeError, match=r"ct_lungs: .*summary.parquet not there. Train and evaluate it first"):
        ship.run(config, tmp_path / "weights")
    write_table(paths.metrics(config, recipe) / "summary.parquet", rows, METRICS_SUMMARY)
    ship.run(config, tmp_path / "weights")
    card = (tmp_path / "weights" / "ct_lungs" / "card.md").read_text()
    assert card.startswith("# A card\n")
    assert "| net@1 | pooled_dice | 0.910 | 0.900 to 0.920 | 9 | 2 |" in card
    assert "| net@1 | sensitivity | - | - to - | 0/9 | 2 |" in card
    assert (tmp_path / "weights" / "ct_lungs" / "model.keras").read_text() == "model.keras"


def test_a_study_without_such_a_name_ships_nothing(tmp_path):
    with pytest.raises(CovidpipeError, match=r"No recipe of this study is called as a shipped network: .*ct_lungs"):
        ship.run(study(tmp_path, "mine"), tmp_path / "weights")
