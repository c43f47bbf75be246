"""From held-out patients to intervals: which images tell how far a method is off, and whom the answer holds for."""

from __future__ import annotations

import pytest
import tiny_cohort as tiny
from test_quantify import rows_of, write_masks

from covidpipe import paths, workflow
from covidpipe.config import Config, parse
from covidpipe.errors import BadConfig
from covidpipe.inference import engine
from covidpipe.io.files import read_json, read_table, write_json, write_table
from covidpipe.provenance import PACKAGE
from covidpipe.quantify.conformal import calibrations_of, patients_needed
from covidpipe.quantify.reference import deciding_settings
from covidpipe.registry import METHODS, SHIPPED
from covidpipe.schemas import IMAGES
from covidpipe.stages import conformal, quantify, ship
from covidpipe.stages.conformal import Judged, by_patient
from covidpipe.training.results_card import with_intervals


def stored(config, models, patients, modality="ct", method="alom2020"):
    told = {"models": models, "settings": deciding_settings(config, method), "patients": patients}
    return {"modality": modality, "methods": {method: told}}


def nine(error):
    """Nine patients of one image, of whom one is wrong by `error` points at 20 %."""
    pairs = [(20.0, 20.0 + (error if n == 4 else 0)) for n in range(9)]
    return [{"dataset": "d", "found": [found], "true": [true]} for found, true in pairs]


@pytest.fixture
def quantified(tmp_path):
    """Quantify the tiny cohort with these calibrations: rows by image and method."""
    images = tiny.write_images(tmp_path)
    masks = write_masks(tmp_path / "masks", images)

    def rows(config, *contents):
        files = [tmp_path / f"{n}.json" for n, _ in enumerate(contents)]
        for file, content in zip(files, contents, strict=True):
            write_json(file, content)
        quantify.run(config, "c", images, masks, 0, tmp_path / "infection.parquet", [], files)
        return rows_of(tmp_path / "infection.parquet")

    return rows


def ends(row):
    return row["infection_percent_low"], row["infection_percent_high"]


def test_an_interval_is_told_for_the_same_networks_and_settings_only(quantified, tmp_path):
    config = tiny.config(tmp_path, intervals={"level": 0.9})
    rows = quantified(config, stored(config, {"segment_lungs": "nabla3@0"}, nine(30.0)))
    ill = rows[tiny.ILL, "alom2020"]
    assert ill["interval_status"] == "calibrated" and ill["interval_patients"] == 9 and ill["interval_level"] == 90
    assert ill["infection_percent_high"] == pytest.approx(50.0) and 0 < ill["infection_percent_low"] < 20
    healthy = rows[tiny.HEALTHY, "alom2020"]
    assert healthy["infection_percent_low"] == 0 < healthy["infection_percent_high"] < 30
    for key in ((tiny.ILL, "khan2020"), (tiny.XRAY, "alom2020")):
        assert ends(rows[key]) == (None, None) and rows[key]["interval_status"] == "not_calibrated"
        assert rows[key]["interval_level"] is rows[key]["interval_patients"] is None
    assert rows[tiny.BROKEN, "alom2020"]["interval_status"] is None
    other = quantified(config, stored(config, {"segment_lungs": "nabla3@1"}, nine(30.0)))
    assert ends(other[tiny.ILL, "alom2020"]) == (None, None)
    moved = tiny.config(tmp_path, threshold={"offset": 1.0}, intervals={"level": 0.9})
    assert ends(quantified(moved, stored(config, {"segment_lungs": "nabla3@0"}, nine(30.0)))[tiny.ILL, "alom2020"]) == (
        None,
        None,
    )


def test_too_few_patients_are_everything_never_narrow(quantified, tmp_path):
    higher = tiny.config(tmp_path, intervals={"level": 0.9})
    eight = stored(higher, {"segment_lungs": "nabla3@0"}, nine(0.0)[:8])
    row = quantified(higher, eight)[tiny.ILL, "alom2020"]
    assert ends(row) == (0.0, 100.0) and row["interval_status"] == "too_few_patients" and row["interval_patients"] == 8
    lower = tiny.config(tmp_path)
    row = quantified(lower, eight)[tiny.ILL, "alom2020"]
    assert ends(row) == (20.0, 20.0) and (row["interval_status"], row["interval_level"]) == ("calibrated", 80.0)


def test_patients_are_told_without_names_and_images_without_lung_left_out():
    def one(patient, found, true, **more):
        return Judged("m", "d", "i", patient, None, found, true, **more)

    some = [
        one("q", (10, 5), (10, 1)),
        one("p", (10, 0), (10, 1)),
        one("q", (8, 2), (8, 1)),
        one("p", (0, 0), (10, 1)),
        one("p", (10, 1), (0, 0)),
        one("p", (0, 0), (4, 1), screened_negative=True),
    ]
    assert by_patient(some) == [
        {"dataset": "d", "found": [0.0, 0.0], "true": [10.0, 25.0]},
        {"dataset": "d", "found": [25.0, 50.0], "true": [12.5, 10.0]},
    ]


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """The tiny images as the dataset medseg829, and networks that say what they have seen of it."""
    monkeypatch.setattr(engine, "PACKAGE", tmp_path)
    rows = read_table(tiny.write_images(tmp_path), IMAGES).to_pylist()
    shas = {row["image_id"]: row["source_sha256"] for row in rows}
    config = tiny.config(tmp_path, datasets={"medseg829": str(tmp_path / "files")})
    write_table(paths.images(config, "medseg829"), rows, IMAGES)
    tiny.write_networks(tmp_path)

    def seen(dataset, parts):
        for name in ("ct_lungs", "ct_screening", "ct_infection"):
            file = tmp_path / "weights" / name / "run.json"
            record = read_json(file)
            record["recipe"]["dataset"] = dataset
            write_json(file, record | {"images": {shas[image]: part for image, part in parts.items()}})

    return config, seen


def test_only_images_that_no_network_learned_from_count(labelled, tmp_path, caplog):
    config, seen = labelled
    out = tmp_path / "ct.json"
    seen("medseg829", {tiny.HEALTHY: "validation", tiny.ILL: "test"})
    conformal.run(config, "ct", ["medseg829"], out)
    told = read_json(out)["methods"]
    assert told["alom2020"]["patients"] == [{"dataset": "medseg829", "found": [0.0, 20.0], "true": [0.0, 20.0]}]
    assert set(told["khan2020"]["models"]) == {"classify", "segment_lungs", "segment_infection"}
    assert [row["level"] for row in told["alom2020"]["coverage"]] == [0.8, 0.8, 0.9, 0.9]
    row = told["alom2020"]["coverage"][-1]
    assert (row["patients"], row["images"], row["unbounded"]) == (1, 2, 1.0)
    seen("medseg829", {tiny.HEALTHY: "train", tiny.ILL: "test"})
    conformal.run(config, "ct", ["medseg829"], out)
    assert read_json(out)["methods"]["alom2020"]["patients"][0]["true"] == [20.0]
    seen("medseg829", {})  # of a data set that they learned from, it must be known that they did not see the image
    conformal.run(config, "ct", ["medseg829"], out)
    assert read_json(out)["methods"] == {} and "khan2020: medseg829 have no image with lung" in caplog.text
    seen("coronacases", {})
    conformal.run(config, "ct", ["medseg829"], out, tmp_path / "weights")
    assert len(read_json(out)["methods"]["alom2020"]["patients"][0]["true"]) == 2


def test_the_cards_of_the_networks_tell_the_coverage(labelled, tmp_path):
    config, seen = labelled
    seen("coronacases", {})
    weights = tmp_path / "weights"
    for name in ("ct_lungs", "ct_infection", "xr_lungs"):
        (weights / name / "card.md").write_text("# A card\n\n## Known limits\n\n- many\n")
    conformal.run(config, "ct", ["medseg829"], tmp_path / "ct.json", weights)
    lungs, infection, film = (
        (weights / name / "card.md").read_text() for name in ("ct_lungs", "ct_infection", "xr_lungs")
    )
    assert "| alom2020 | 90 % | the other patients | medseg829 | 100.0 % |" in lungs and "| khan2020 |" in lungs
    assert "| alom2020 |" not in infection and "| khan2020 | 80 % | the other patients | all |" in infection
    assert "## Prediction intervals" not in film
    ship.update_cards(weights, [tmp_path / "ct.json"])
    assert (weights / "ct_lungs" / "card.md").read_text() == lungs, "told once"
    assert lungs.startswith("# A card\n\n## Known limits\n\n- many\n\n## Prediction intervals\n")


def test_a_section_is_replaced_where_it_stands():
    card = "# C\n\n## Prediction intervals\n\nold\n\n## Last\n\ntext\n"
    assert with_intervals(card, "## Prediction intervals\n\nnew\n") == card.replace("old", "new")


STUDY = {
    "training": {
        "lungs": {"task": "segment_lungs", "dataset": "medseg829", "model": "nabla3", "regime": "scratch",
                  "image_size": 32}
    },
    "models": {"ct": {"segment_lungs": "lungs"}},
    "cohorts": {"c": {"path": "x", "modality": "ct"}, "other": {"dataset": "coronacases"}},
}  # fmt: skip


def test_a_study_measures_its_own_networks_and_others_take_what_is_shipped(tmp_path, monkeypatch):
    own = Config.model_validate(STUDY)
    assert workflow.calibration_sources(own, "ct") == ["medseg829"] and workflow.calibration_sources(own, "xr") == []
    assert workflow.cohort_calibrations(own, "c") == [paths.conformal(own, "ct")]
    more = Config.model_validate(STUDY | {"intervals": {"sources": ["other"]}})
    assert workflow.calibration_sources(more, "ct") == ["medseg829", "other"]
    monkeypatch.setattr(workflow, "PACKAGE", tmp_path)
    shipped = Config.model_validate({"cohorts": {"c": {"path": "x", "modality": "ct"}}})
    assert workflow.cohort_calibrations(shipped, "c") == []
    write_json(tmp_path / "weights" / "conformal-ct.json", {})
    assert workflow.cohort_calibrations(shipped, "c") == [tmp_path / "weights" / "conformal-ct.json"]


@pytest.mark.parametrize("name", ["nobody", "c"])
def test_a_source_must_have_true_masks(name):
    with pytest.raises(BadConfig, match=rf"intervals.sources: wanted a name under `cohorts`.*found `{name}`"):
        parse(STUDY | {"intervals": {"sources": [name]}}, "test")


def test_the_shipped_calibration_is_of_the_shipped_networks_and_the_defaults():
    found = calibrations_of([read_json(PACKAGE / "weights" / "conformal-ct.json")])
    ids = {}
    for name, (task, modality) in SHIPPED.items():
        if modality == "ct":
            record = read_json(PACKAGE / "weights" / name / "run.json")
            ids[task] = f"{record['recipe']['model']}@{record['weights_sha256'][:12]}"
            assert "## Prediction intervals" in (PACKAGE / "weights" / name / "card.md").read_text(encoding="utf-8")
    assert {method for _, method in found} == {m for m, spec in METHODS.items() if "ct" in spec.roles}
    for (_, method), (one,) in found.items():
        assert one.models == {task: ids[task] for task in METHODS[method].roles["ct"]}
        assert one.settings == deciding_settings(Config(), method), "make it again: make weights"
        assert len(set(one.patients)) >= patients_needed(Config().intervals.level)
