"""One network in several folds: who belongs together, and that each patient is judged by the fold that tests them."""

from __future__ import annotations

import pytest
import tiny_cohort as tiny

from covidpipe import paths, workflow
from covidpipe.config import Config
from covidpipe.folds import folds_of, in_folds
from covidpipe.io.files import read_json, read_table, write_table
from covidpipe.schemas import IMAGES, SPLIT
from covidpipe.stages import conformal, reference
from covidpipe.stages.folds import groups_of

LUNGS = {"task": "segment_lungs", "dataset": "medseg829", "model": "nabla3", "regime": "scratch", "image_size": 96}
INFECTION = LUNGS | {"task": "segment_infection", "model": "cov_raseg"}
SCREENING = LUNGS | {"task": "classify", "model": "cov_ctnet", "regime": "scratch_original"}


def study(*names: str, **recipes) -> Config:
    roles = dict(zip(("segment_lungs", "segment_infection", "classify"), names, strict=False))
    return Config.model_validate({"training": recipes, "models": {"ct": roles}})


def test_recipes_that_differ_in_their_fold_alone_are_one_network():
    config = study(
        "lungs",
        lungs=LUNGS | {"fold": 2},
        other=LUNGS,
        small=LUNGS | {"fold": 1, "width": 0.5},
        infection=INFECTION | {"fold": 4},
    )
    assert folds_of(config, "lungs") == {0: "other", 2: "lungs"}
    assert folds_of(config, "small") == {1: "small"}


def test_a_fold_counts_where_all_networks_have_it():
    recipes = {f"lungs_{fold}": LUNGS | {"fold": fold} for fold in range(4)}
    recipes |= {f"infection_{fold}": INFECTION | {"fold": fold} for fold in (0, 2, 3)}
    recipes |= {f"screening_{fold}": SCREENING | {"fold": fold} for fold in (2, 3, 4)}
    found = in_folds(study("lungs_2", "infection_2", "screening_2", **recipes), "ct")
    assert [config.models["ct"].model_dump() for config in found] == [
        {"classify": f"screening_{n}", "segment_lungs": f"lungs_{n}", "segment_infection": f"infection_{n}"}
        for n in (2, 3)
    ]


def test_networks_that_a_study_does_not_train_have_no_other_folds():
    assert in_folds(Config(), "ct") == [Config()]
    config = study("lungs", "shipped:ct_infection", lungs=LUNGS, lungs_1=LUNGS | {"fold": 1})
    assert in_folds(config, "ct") == in_folds(config, "xr") == [config]


def test_a_measure_waits_for_the_networks_of_all_folds():
    config = study("lungs", lungs=LUNGS, lungs_1=LUNGS | {"fold": 1})
    assert workflow.reference_recipes(config, "ct") == ["lungs", "lungs_1"]
    alone = study("lungs", lungs=LUNGS, lungs_1=LUNGS | {"fold": 1, "width": 0.5})
    assert workflow.reference_recipes(alone, "ct") == ["lungs"]


@pytest.fixture
def two_folds(tmp_path):
    """A study of two folds, and what writes their networks with the parts of the images in each training."""
    config = tiny.config(
        tmp_path,
        training={"lungs": LUNGS, "lungs_1": LUNGS | {"fold": 1}},
        models={"ct": {"segment_lungs": "lungs"}},
        datasets={"medseg829": str(tmp_path / "files")},
    )
    rows = read_table(tiny.write_images(tmp_path), IMAGES).to_pylist()
    for row in rows:
        row |= {"patient_id": row["image_id"], "lesion_free": row["image_id"] == tiny.HEALTHY}
    write_table(paths.images(config, "medseg829"), rows, IMAGES)
    sha256 = {row["image_id"]: row["source_sha256"] for row in rows}

    def trained(name: str, **parts: str) -> None:
        folder = paths.model(config, config.training[name])
        seen = {sha256[image]: part for image, part in zip((tiny.HEALTHY, tiny.ILL), parts.values(), strict=True)}
        tiny.write_model(folder, "segment_lungs", parts=seen, dataset="medseg829")

    return config, trained


def test_every_patient_is_judged_by_the_fold_that_tests_them(two_folds, tmp_path):
    config, trained = two_folds
    trained("lungs", healthy="test", ill="validation")  # validation patients do not count where another fold tests them
    trained("lungs_1", healthy="train", ill="test")
    conformal.run(config, "ct", ["medseg829"], tmp_path / "ct.json")
    told = read_json(tmp_path / "ct.json")
    assert told["methods"]["alom2020"]["patients"] == [
        {"dataset": "medseg829", "found": [0.0], "true": [0.0]},
        {"dataset": "medseg829", "found": [20.0], "true": [20.0]},
    ]
    (other,) = told["run"]["other_folds"]
    assert set(other) == {"alom2020"} and set(other["alom2020"]) == {"segment_lungs"}


def test_a_patient_under_two_names_is_one(two_folds, tmp_path):
    config, trained = two_folds
    trained("lungs", healthy="test", ill="test")
    trained("lungs_1", healthy="train", ill="train")
    split = [{"image_id": i, "group": "p", "fold": 0, "protocol": "grouped"} for i in (tiny.HEALTHY, tiny.ILL)]
    write_table(paths.split(config, "medseg829", "grouped"), split, SPLIT)
    conformal.run(config, "ct", ["medseg829"], tmp_path / "ct.json")
    (person,) = read_json(tmp_path / "ct.json")["methods"]["alom2020"]["patients"]
    assert person["true"] == [0.0, 20.0]


def test_names_of_patients_do_not_depend_on_the_key_of_the_hashes(tmp_path):
    config = Config(results=str(tmp_path))
    rows = [{"image_id": i, "patient_id": p} for i, p in (("c", "p"), ("a", "q"), ("b", "p"), ("d", None))]
    wanted = {"a": "patient of image a", "b": "patient of image b", "c": "patient of image b", "d": "image d"}
    assert groups_of(config, "coronacases", rows) == wanted
    renamed = [row | {"patient_id": row["patient_id"] and f"9{row['patient_id']}"} for row in rows[::-1]]
    assert groups_of(config, "coronacases", renamed) == wanted


def test_an_image_of_a_training_part_is_judged_by_nobody(two_folds, tmp_path):
    config, trained = two_folds
    trained("lungs", healthy="train", ill="train")
    trained("lungs_1", healthy="train", ill="test")
    conformal.run(config, "ct", ["medseg829"], tmp_path / "ct.json")
    assert [p["true"] for p in read_json(tmp_path / "ct.json")["methods"]["alom2020"]["patients"]] == [[20.0]]


def test_lesion_free_images_of_all_folds_are_the_reference(two_folds, tmp_path, monkeypatch):
    config, trained = two_folds
    monkeypatch.setattr(reference, "FEWEST", 1)
    trained("lungs", healthy="train", ill="test")
    trained("lungs_1", healthy="test", ill="train")
    reference.run(config, "ct", ["medseg829"], tmp_path / "ct.json")
    told = read_json(tmp_path / "ct.json")["methods"]["alom2020"]
    assert (told["percents"], told["images"], told["patients"]) == ([0.0], 1, 1)
