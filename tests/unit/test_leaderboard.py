"""The leaderboard: recipes that can be compared, controls by hand, ranks, what was not run, and the page."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidpipe import paths, workflow
from covidpipe.config import Config, Recipe, load
from covidpipe.errors import BadConfig, BadTable
from covidpipe.io.files import read_table, write_json, write_table
from covidpipe.lung_view import around, view_mask
from covidpipe.metrics.summary import MEASURES as OF_AN_IMAGE
from covidpipe.paper import leaderboard as board
from covidpipe.registry import MODELS, TASKS
from covidpipe.schemas import LEADERBOARD, METRICS_IMAGES, SPLIT
from covidpipe.stages import leaderboard
from covidpipe.stages.folds import gathered

ROOT = Path(__file__).parents[2]
PUBLISHED = str(ROOT / "config" / "published")
MASKS = {"task": "segment_infection", "dataset": "medseg829", "model": "cov_raseg", "regime": "scratch"}
COST = board.Cost(parameters=23_878, gflop=0.25, cpu_ms=4.5, engine="openvino 1, 2 CPU cores", train_minutes=3.0)


def study(folder: Path, **training) -> Config:
    base = MASKS | {"image_size": 32}
    return Config.model_validate(
        {
            "study": "board",
            "results": str(folder),
            "folds": 3,
            "paper": {"label": "short", "published": PUBLISHED},
            "training": {name: base | changes for name, changes in training.items()},
        }
    )


# --- Which recipes --------------------------------------------------------------------------------------------------


def test_the_board_of_the_project_has_every_network_of_every_task_on_the_same_folds():
    found = board.families(load(ROOT / "config" / "leaderboard.yaml"))
    for (task, dataset), networks in found.items():
        assert dataset == "medseg829"
        assert {model for model, _ in networks} == {name for name, spec in MODELS.items() if task in spec.tasks}
        assert {tuple(sorted(r.fold for r in recipes.values())) for recipes in networks.values()} == {(2, 3, 4)}
    assert {task for task, _ in found} == set(TASKS)


def test_recipes_that_differ_in_more_than_the_network_are_no_comparison(tmp_path):
    alike = board.families(study(tmp_path, a={}, b={"model": "segnet", "width": 0.25, "regime": "scratch_attention"}))
    assert {key: list(recipes) for key, recipes in alike["segment_infection", "medseg829"].items()} == {
        ("cov_raseg", "scratch"): ["a"],
        ("segnet", "scratch_attention"): ["b"],
    }
    with pytest.raises(BadConfig, match="recipes differ in more, as `a` and `b` do"):
        board.families(study(tmp_path, a={}, b={"model": "segnet", "image_size": 64}))
    with pytest.raises(BadConfig, match=r"as `a` and `b` do.*`lung_view` to all or none"):
        board.families(study(tmp_path, a={}, b={"model": "segnet", "regime": "lung_view"}))
    with pytest.raises(BadConfig, match="recipes differ in more in their folds"):
        board.families(study(tmp_path, a={}, a_1={"fold": 1}, b={"model": "segnet"}))
    with pytest.raises(BadConfig, match="a, a_1 are folds of one network: give them one `width`"):
        board.families(study(tmp_path, a={}, a_1={"fold": 1, "width": 0.5}))
    with pytest.raises(BadConfig, match=r"wanted recipes with `protocol: grouped`.*config/leaderboard.yaml"):
        board.families(study(tmp_path, a={"protocol": "published"}))


def test_its_config_is_read_where_it_is_asked_for(monkeypatch):
    monkeypatch.delenv("COVIDPIPE_DEFAULT_CONFIG", raising=False)
    assert workflow.default_config(["snakemake", "-n", "leaderboard"]) == "config/leaderboard.yaml"
    monkeypatch.delenv("COVIDPIPE_DEFAULT_CONFIG")


# --- What is measured -----------------------------------------------------------------------------------------------


def test_labels_of_all_folds_are_pooled_each_at_the_threshold_of_its_fold(tmp_path):
    labels = {"task": "classify", "model": "cov_ctnet", "regime": "scratch_original"}
    config = study(tmp_path, a=labels, a_1=labels | {"fold": 1})
    said = {"w": (0.3, 1), "x": (0.2, 0), "y": (0.6, 0), "z": (0.9, 1)}
    folds = {"w": ("p", 0), "x": ("q", 0), "y": ("r", 1), "z": ("s", 1)}
    split = [{"image_id": i, "group": g, "fold": f, "protocol": "grouped"} for i, (g, f) in folds.items()]
    write_table(paths.split(config, "medseg829", "grouped"), split, SPLIT)
    for threshold, recipe in zip((0.3, 0.8), config.training.values(), strict=True):
        rows = [
            {"image_id": image, "patient_id": None, "measure": measure, "value": float(np.float32(value))}
            for image, values in said.items()
            if folds[image][1] == recipe.fold
            for measure, value in zip(("covid_probability", "label"), values, strict=True)
        ]
        write_table(paths.metrics(config, recipe) / "images.parquet", rows, METRICS_IMAGES)
        write_json(paths.model(config, recipe) / "run.json", {"recipe": {"threshold": threshold}})
    found = {row["measure"]: row for row in gathered(config, config.training.values())}
    assert found["accuracy"]["value"] == 1  # w is at its threshold, y below that of its own fold
    assert found["roc_auc"]["value"] == 0.75  # y before w
    assert (found["accuracy"]["n"], found["accuracy"]["patients"]) == (4, 4)


class Drawn:
    """Stands for a store: two test images, lungs of 16 pixels in each, half of one infected and bright."""

    def __init__(self):
        self.lung_mask = np.zeros((2, 8, 8), np.uint8)
        self.lung_mask[:, 2:6, 2:6] = 1
        self.infection_mask = np.zeros_like(self.lung_mask)
        self.infection_mask[1, 2:6, 2:4] = 1
        self.image = np.where(self.lung_mask, 20, 120).astype(np.uint8) + 150 * self.infection_mask
        self.index = pd.DataFrame({"image_id": ["i", "j"], "n": [0, 1]})
        self.size = 8

    def read(self, name, positions):
        return getattr(self, name)[positions]


def test_the_controls_of_infection_by_hand(tmp_path, monkeypatch):
    rows = pd.DataFrame(
        {"n": [0, 1], "image_id": ["i", "j"], "group": ["p", "q"], "label": [False, True]}
        | dict.fromkeys(("top", "left"), 0)
        | dict.fromkeys(("height", "width"), 8)
    )
    monkeypatch.setattr(leaderboard, "labelled", lambda config, recipe: (Drawn(), {"train": rows, "test": rows}))
    monkeypatch.setattr(leaderboard, "open_store", lambda path: Drawn())
    monkeypatch.setattr(leaderboard, "adaptive_threshold", lambda image, lung, settings: (image > 100) & lung)
    found = leaderboard.measured_controls(study(tmp_path), [Recipe(**MASKS, image_size=32)])
    dice = {name: scores["pooled_dice"]["value"] for name, scores in found.items()}
    assert dice["all_background"] == dice["border_painter"] == 0
    assert dice["all_lung"] == pytest.approx(2 * 8 / (32 + 8))
    assert dice["threshold"] == 1
    assert found["all_lung"]["infection_percent_mean_absolute_error"]["value"] == 75  # 100 % said of 0 and 50 %
    assert found["threshold"]["infection_percent_concordance"]["value"] == 1
    assert found["threshold"]["pooled_dice"]["patients"] == 2
    assert set(found) <= set(board.CONTROLS)


def test_the_threshold_is_compared_where_the_networks_look(tmp_path, monkeypatch):
    whole, view = Drawn(), Drawn()  # lungs at the lower right of a frame of 40, and a view of 24 of them alone
    whole.lung_mask = np.zeros((2, 40, 40), np.uint8)
    whole.lung_mask[:, 10:38, 20:38] = 1
    whole.infection_mask = np.zeros_like(whole.lung_mask)
    whole.infection_mask[1, 12:20, 22:30] = 1
    whole.image = 20 + 150 * whole.infection_mask
    whole.size, view.size = 40, 24
    squares = [around(lung > 0) for lung in whole.lung_mask]
    for name in ("lung_mask", "infection_mask"):
        setattr(view, name, np.stack([view_mask(m, s, 24) for m, s in zip(getattr(whole, name), squares, strict=True)]))
    rows = pd.DataFrame(
        {"n": [0, 1], "image_id": ["i", "j"], "group": ["p", "q"], "label": [False, True]}
        | dict.fromkeys(("top", "left"), 0)
        | dict.fromkeys(("height", "width"), 24)
    )
    monkeypatch.setattr(leaderboard, "labelled", lambda config, recipe: (view, {"train": rows, "test": rows}))
    monkeypatch.setattr(leaderboard, "open_store", lambda path: whole)
    monkeypatch.setattr(leaderboard, "adaptive_threshold", lambda image, lung, settings: (image > 100) & lung)
    recipe = Recipe(**MASKS | {"regime": "lung_view"}, image_size=24)
    assert leaderboard.measured_controls(study(tmp_path), [recipe])["threshold"]["pooled_dice"]["value"] == 1
    recipe = Recipe(**MASKS, image_size=24)
    assert leaderboard.measured_controls(study(tmp_path), [recipe])["threshold"]["pooled_dice"]["value"] < 0.5


def test_always_positive_is_right_as_often_as_there_is_disease(tmp_path, monkeypatch):
    labels = np.array([True, True, True, False])
    rows = pd.DataFrame({"group": list("pqrs"), "label": labels})
    monkeypatch.setattr(leaderboard, "labelled", lambda config, recipe: (None, {"test": rows}))
    answers = [("intensity_histogram", (np.array([0.9, 0.8, 0.7, 0.1]), 0.5)), ("lungs_only", "no lung masks")]
    monkeypatch.setattr(leaderboard, "simple_answers", lambda *given: iter(answers))
    recipe = Recipe(**MASKS | {"task": "classify", "model": "cov_ctnet", "regime": "scratch_original"}, image_size=32)
    found = leaderboard.measured_controls(study(tmp_path), [recipe])
    assert set(found) == {"always_positive", "intensity_histogram"}
    assert found["always_positive"]["accuracy"]["value"] == 0.75
    assert found["always_positive"]["balanced_accuracy"]["value"] == found["always_positive"]["roc_auc"]["value"] == 0.5
    assert found["intensity_histogram"]["roc_auc"]["value"] == 1


class Counted:
    """Stands for a network: counts the images it is asked about."""

    seen = 0

    def predict(self, images):
        self.seen += len(images)
        return images


def test_time_is_that_of_one_image_after_one_run_that_warms_up():
    network = Counted()
    assert 0 < leaderboard.seconds_an_image(network, np.zeros((10, 2, 2), np.uint8)) < 0.1
    assert network.seen == 10 * (1 + leaderboard.REPEATS)


# --- The table and the page -----------------------------------------------------------------------------------------


def standing(model: str, value: float | None, low: float | None = None, high: float | None = None) -> board.Standing:
    score = {"value": value, "low": low, "high": high, "n": 279, "patients": 6, "interval": "bootstrap"}
    return board.Standing(Recipe(**MASKS | {"model": model}, image_size=32), 1, {"pooled_dice": score}, COST)


def rows() -> list[board.Row]:
    told = [standing("cov_raseg", 0.4, 0.2, 0.6), standing("segnet", 0.55, 0.5, 0.7), standing("unet", None)]
    found = [row for one in told for row in board.network_rows(one, "short")]
    found += board.missing_rows("segment_infection", "medseg829", ["cov_raseg", "segnet", "unet"], "short")
    painter = {"pooled_dice": {"value": 0.1, "low": None, "high": None, "n": 279, "patients": 6, "interval": None}}
    found += board.control_rows("segment_infection", "medseg829", {"border_painter": painter}, 1, "short")
    return found + board.reference_rows(board.read_references(Path(PUBLISHED) / "leaderboard.csv"), TASKS, "short")


def test_the_rows_keep_their_schema_and_every_network_of_the_task_is_there(tmp_path):
    table = write_table(tmp_path / "leaderboard.parquet", rows(), LEADERBOARD).to_pandas()
    networks = table[table.role == "network"]
    assert set(networks["row"]) == {name for name, spec in MODELS.items() if "segment_infection" in spec.tasks}
    assert set(networks[networks.status == "not run"]["row"]).isdisjoint({"cov_raseg", "segnet", "unet"})
    assert networks[networks.status == "not run"][["value", "parameters", "cpu_ms"]].isna().all(axis=None)
    assert set(table[table.role == "reference"].task) == set(TASKS)
    assert read_table(tmp_path / "leaderboard.parquet", LEADERBOARD).num_rows == len(table)


def test_the_best_comes_first_and_what_has_no_value_last():
    ranks = [of_one[0]["row"] for of_one in board.ranked(rows(), "segment_infection", "medseg829", "network")]
    assert ranks[:2] == ["segnet", "cov_raseg"]
    assert set(ranks[2:4]) & {"unet", "compact_unet"}


def test_the_page_tells_cost_beside_quality_controls_and_sources(tmp_path):
    text = board.page(study(tmp_path, a={}), rows(), "picture.svg")
    assert "| `segnet` | 0.550 (0.500 to 0.700) |" in text
    assert "| 1 | 0.024 | 0.25 | 4.5 |" in text
    assert "| `unet` | undefined |" in text
    assert "| `fcn8` | not run |" in text
    assert "| border painter (control) | 0.100 |" in text
    assert "- border painter: paints the frame of the image" in text
    assert "two radiologists against each other" in text and "doi:10.1016/j.redii.2022.100003" in text
    assert "279 images of 6 patients" in text and "Label `short`" in text
    assert "![What networks cost, and how good they are](picture.svg)" in text
    assert "32 px, " in text and "bfloat16" not in text
    lungs = study(tmp_path, a={"regime": "lung_view", "schedule": "short"})
    lungs.schedules["short"] = lungs.schedules["short"].model_copy(update={"epochs": 3, "precision": "mixed_bfloat16"})
    text = board.page(lungs, rows(), "picture.svg")
    assert "32 px of the lungs alone, 3 epochs, batch" in text and "augmentation standard, in bfloat16" in text


def test_two_regimes_of_a_network_are_told_apart():
    other = standing("segnet", 0.2)
    other = replace(other, recipe=other.recipe.model_copy(update={"regime": "scratch_attention"}))
    some = [row for one in (standing("segnet", 0.5), other) for row in board.network_rows(one, "full")]
    text = board.board(some, "segment_infection", "medseg829")
    assert "`segnet`, scratch |" in text and "`segnet`, scratch attention |" in text


def test_published_figures_without_a_source_are_refused(tmp_path):
    head = ",".join(board.REFERENCE_COLUMNS)
    (tmp_path / "x.csv").write_text(f"{head}\nsegment_lungs,a,Dice,0.9,,,CT,somebody 2020\nclassify,b,AUC,0.9,,,CT,\n")
    with pytest.raises(BadTable, match=r"x\.csv, line 3: wanted a task .*and a `source`"):
        board.read_references(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("task\n")
    with pytest.raises(BadTable, match="wanted the columns task, row"):
        board.read_references(tmp_path / "x.csv")
    with pytest.raises(BadTable, match="not readable"):
        board.read_references(tmp_path / "y.csv")


# --- The stage ------------------------------------------------------------------------------------------------------


def test_the_stage_gathers_folds_and_tells_what_was_not_run(tmp_path, monkeypatch):
    config = study(
        tmp_path / "results", a={}, a_1={"fold": 1}, b={"model": "segnet"}, b_1={"model": "segnet", "fold": 1}
    )
    images = {"i": ("p", 0), "j": ("q", 1)}
    split = [{"image_id": i, "group": g, "fold": f, "protocol": "grouped"} for i, (g, f) in images.items()]
    write_table(paths.split(config, "medseg829", "grouped"), split, SPLIT)
    for name in ("a", "a_1", "b"):  # the second fold of b is missing
        folder = paths.metrics(config, config.training[name])
        image = next(i for i, (_, fold) in images.items() if fold == config.training[name].fold)
        values = dict.fromkeys(OF_AN_IMAGE, 0.5) | {"true_positive_px": 4.0, "false_positive_px": 2.0}
        values |= {"false_negative_px": 2.0, "true_negative_px": 8.0}
        told = [{"image_id": image, "patient_id": None, "measure": m, "value": v} for m, v in values.items()]
        write_table(folder / "images.parquet", told, METRICS_IMAGES)
        (folder / "summary.parquet").touch()
    monkeypatch.setattr(leaderboard, "cost", lambda config, recipes: COST)
    monkeypatch.setattr(leaderboard, "measured_controls", lambda config, recipes: {})
    out, document = tmp_path / "out", tmp_path / "docs" / "leaderboard.md"
    leaderboard.run(config, out, document)
    table = pd.read_csv(out / "leaderboard.csv").set_index(["role", "row", "measure"])
    own = table.loc["network", "cov_raseg", "pooled_dice"]
    assert (own.value, own.folds, own.patients, own.n) == (pytest.approx(2 / 3), 2, 2, 2)
    assert table.loc["network", "segnet", "pooled_dice"].status == "not run"
    for page, picture in ((out / "leaderboard.md", "cost_against_quality.svg"), (document, "leaderboard.svg")):
        assert f"]({picture})" in page.read_text()
        words = [element.text for element in ET.parse(page.with_name(picture)).iter() if element.text]
        assert any("cov_raseg" in word for word in words) and any("short" in word for word in words)
    assert (out / "cost_against_quality.png").stat().st_size > 5_000


def test_where_nothing_was_run_there_is_a_page_and_no_figure(tmp_path):
    leaderboard.run(study(tmp_path / "results", a={}), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "leaderboard.csv", "leaderboard.md", "leaderboard.parquet",
    ]  # fmt: skip
    assert "| `cov_raseg` | not run |" in (tmp_path / "out" / "leaderboard.md").read_text()
