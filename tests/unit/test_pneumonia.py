"""Films asked for pneumonia: columns of their own, beside percentages that do not depend on them."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_cohort as tiny

import covidpipe
from covidpipe import paths, workflow
from covidpipe.config import Config, Roles
from covidpipe.errors import BadConfig
from covidpipe.inference import engine
from covidpipe.io.files import file_sha256, read_frame, read_json, read_table
from covidpipe.provenance import PACKAGE
from covidpipe.registry import DATASETS
from covidpipe.schemas import IMAGES, INFECTION
from covidpipe.stages import collect, predict, quantify
from covidpipe.training.card import model_card

ASKED = {"pneumonia_probability", "pneumonia_positive", "pneumonia_model_id"}
FILMS = {"segment_lungs": "shipped:xr_lungs", "classify": "shipped:xr_screening"}
TEMPERATURE, THRESHOLD = 4.0, 0.52
RECIPE = {"task": "classify", "dataset": "kermany", "model": "resnet18", "regime": "scratch_original"}
RECIPE |= {"image_size": 64}


@pytest.fixture
def images(tmp_path, monkeypatch):
    """The tiny cohort, with the networks of `tiny` and one that tells pneumonia."""
    for module in (engine, workflow):
        monkeypatch.setattr(module, "PACKAGE", tmp_path)
    tiny.write_networks(tmp_path)
    table = tiny.write_images(tmp_path)
    (film,) = (row for row in read_table(table, IMAGES).to_pylist() if row["image_id"] == tiny.XRAY)
    tiny.write_model(
        tmp_path / "weights" / "xr_screening",
        "classify",
        dataset="kermany",
        model="resnet18",
        threshold=THRESHOLD,
        temperature=TEMPERATURE,
        parts={film["source_sha256"]: "train"},
    )
    return table


def study(folder, **roles):
    return tiny.config(folder, models={**tiny.config(folder).model_dump()["models"], "xr": FILMS | roles})


def collected(config, images, out):
    """Predict, quantify, collect; the table by image and method."""
    predict.run(config, "c", images, 0, out / "masks")
    quantify.run(config, "c", images, out / "masks", 0, out / "00000" / "infection.parquet")
    collect.run(config, "c", images, [out / "00000" / "infection.parquet"], out / "tables")
    rows = read_table(out / "tables" / "infection.parquet", INFECTION).to_pylist()
    return {(row["image_id"], row["method"]): row for row in rows}


def test_a_film_is_asked_beside_the_method_and_nothing_else_moves(images, tmp_path):
    found = collected(study(tmp_path), images, tmp_path / "with")
    film = found[tiny.XRAY, "alom2020"]
    odds = (tiny.chest(180)[0].mean() - tiny.SCREEN) / TEMPERATURE
    assert film["pneumonia_probability"] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-4)
    assert film["pneumonia_positive"] is (film["pneumonia_probability"] >= THRESHOLD) is False
    weights = file_sha256(tmp_path / "weights" / "xr_screening" / "model.keras")
    assert film["pneumonia_model_id"] == f"resnet18@{weights[:12]}"
    assert film["infection_percent"] == 10.0 and film["qc_reasons"] == ["modality_guessed", "side_assumed"]
    assert film["covid_probability"] is film["covid_positive"] is film["classifier_id"] is None
    assert film["split"] == "train", "the classifier learned from it"

    without = collected(study(tmp_path, classify=None), images, tmp_path / "without")
    assert without.keys() == found.keys()
    for key, row in without.items():
        assert {row[name] for name in ASKED} == {None}
        changed = {name for name, value in row.items() if found[key][name] != value}
        assert changed == (ASKED | {"split"} if key == (tiny.XRAY, "alom2020") else set())

    models = read_json(tmp_path / "with" / "masks" / "run.json")["models"]
    assert models["xr"]["classify"] == film["pneumonia_model_id"]
    crate = (tmp_path / "with" / "tables" / "ro-crate-metadata.json").read_text()
    assert f"#pneumonia_model_id-{film['pneumonia_model_id']}" in crate and "kermany" in crate


def test_a_film_that_can_no_longer_be_read_has_no_answer(images, tmp_path):
    (tmp_path / "files" / "ct" / f"{tiny.XRAY}.png").unlink()
    film = collected(study(tmp_path), images, tmp_path / "out")[tiny.XRAY, "alom2020"]
    assert film["qc_reasons"] == ["unreadable"] and {film[name] for name in ASKED} == {None}


def test_a_notebook_gets_the_answer_too(images, tmp_path):
    array, lung, _ = tiny.chest(360)
    film = covidpipe.Image(array, None, "xr", "radiograph")
    found = covidpipe.predict_masks(film, "alom2020", config=study(tmp_path))
    assert found.pneumonia_positive is True and THRESHOLD <= found.pneumonia_probability < 1
    assert (found.lung_mask == lung).all() and found.covid_probability is None
    assert [name.split("@")[0] for name in found.models] == ["resnet18", "nabla3"]


def test_the_default_is_asked_of_films():
    assert Config().models["xr"].model_dump() == FILMS | {"segment_infection": None}


def test_named_and_not_there_is_told_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(workflow, "PACKAGE", tmp_path)
    config = Config.model_validate({"cohorts": {"c": {"path": "x", "modality": "xr"}}, "models": {"xr": FILMS}})
    with pytest.raises(BadConfig, match=r"models\.xr\.classify: `shipped:xr_screening`: .* is not there.*give null"):
        workflow.cohort_models(config, "c")


def test_a_study_asks_its_own_network_and_ranks_by_the_lungs_data_alone():
    """Healthy films of children are no reference of the percentages: the lungs' network has not to do with them."""
    lungs = RECIPE | {"task": "segment_lungs", "dataset": "cxr-lungs", "model": "nabla3", "regime": "scratch"}
    config = Config.model_validate(
        {
            "cohorts": {"c": {"path": "x", "modality": "xr"}},
            "training": {"lungs": lungs, "pneumonia": RECIPE},
            "models": {"xr": {"segment_lungs": "lungs", "classify": "pneumonia"}},
        }
    )
    assert workflow.cohort_recipes(config, "c") == ["lungs", "pneumonia"]
    assert paths.model(config, config.training["pneumonia"]) / "model.keras" in workflow.cohort_models(config, "c")
    assert workflow.reference_datasets(config, "xr") == ["cxr-lungs"]
    without = config.model_copy(update={"models": {"xr": Roles(segment_lungs="lungs")}})
    for stage, given, moves in (
        ("predict", {"cohort_out": "results/cohorts/c"}, True),
        ("reference", {"modality": "xr"}, False),
        ("conformal", {"modality": "xr"}, False),
    ):
        settings = [workflow.settings(one, stage, given) for one in (config, without)]
        assert (settings[0] != settings[1]) is moves, stage


def test_a_report_has_the_column_where_there_are_answers(images, tmp_path):
    from covidpipe.report import page

    for roles, shown in (({}, True), ({"classify": None}, False)):
        config = study(tmp_path, **roles)
        collected(config, images, tmp_path / str(shown))
        rows = read_frame(tmp_path / str(shown) / "tables" / "infection.parquet", INFECTION)
        assert (("Pneumonia", True) in page.image_rows(rows)["headings"]) is shown
        (films,) = (one for one in page.method_results(rows, config) if one["modality"] == "X-ray")
        assert (films["asked_for_pneumonia"], films["with_pneumonia"]) == (int(shown), 0)
        assert ("pneumonia" in {model["part"] for model in page.models_used(rows)}) is shown


def test_a_card_says_whose_films_the_network_learned_from():
    record = read_json(PACKAGE / "weights" / "ct_screening" / "run.json")
    limits = DATASETS["kermany"].limits
    assert "children" in limits and "not calibrated for adults" in limits and limits not in model_card(record)
    record["recipe"] |= {"dataset": "kermany", "modality": "xr"}
    assert f"\n- {limits}\n" in model_card(record) and "(xr; disease: pneumonia)" in model_card(record)
