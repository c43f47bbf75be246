"""Shipping a trained network: the folder, and the card that tells its test results."""

from __future__ import annotations

import pytest

from covidpipe import paths
from covidpipe.config import parse
from covidpipe.errors import CovidpipeError
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


def test_the_network_goes_with_the_card_of_its_evaluation(tmp_path):
    config = study(tmp_path, "ct_lungs")
    recipe = config.training["ct_lungs"]
    folder, card = paths.model(config, recipe), paths.metrics(config, recipe) / "card.md"
    folder.mkdir(parents=True)
    for file in ("model.keras", "history.parquet", "run.json"):
        (folder / file).write_text(file)
    (folder / "card.md").write_text("# Not tested yet\n")
    with pytest.raises(CovidpipeError, match=r"ct_lungs: .*card.md not there. Train and evaluate it first"):
        ship.run(config, tmp_path / "weights")
    card.parent.mkdir(parents=True)
    card.write_text("# Results\n")
    ship.run(config, tmp_path / "weights")
    shipped = {file.name: file.read_text() for file in (tmp_path / "weights" / "ct_lungs").iterdir()}
    assert shipped == {
        "card.md": "# Results\n", "model.keras": "model.keras", "history.parquet": "history.parquet",
        "run.json": "run.json",
    }  # fmt: skip


def test_a_study_without_such_a_name_ships_nothing(tmp_path):
    with pytest.raises(CovidpipeError, match=r"No recipe of this study is called as a shipped network: .*ct_lungs"):
        ship.run(study(tmp_path, "mine"), tmp_path / "weights")
