"""The config: one place for keys and defaults, and messages that say what would work."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from covidpipe.config import Config, commented, dump, load, parse
from covidpipe.errors import BadConfig

ROOT = Path(__file__).parents[2]
RECIPE = {
    "task": "segment_lungs",
    "dataset": "medseg829",
    "model": "nabla3",
    "regime": "scratch",
    "image_size": 64,
    "schedule": "s",
}
SCHEDULE = {"s": {"epochs": 1, "batch_size": 1, "learning_rate": 0.1}}


def study(**changes):
    return {"training": {"lungs": RECIPE | changes}, "schedules": SCHEDULE}


@pytest.mark.parametrize(
    "file",
    sorted(set((ROOT / "config").glob("*.yaml")) - {ROOT / "config" / "datasets.yaml"}),
    ids=lambda file: file.name,
)
def test_every_config_of_the_project_is_valid(file):
    load(file)


def test_the_commented_defaults_are_the_defaults_and_are_kept_in_config_yaml():
    assert parse(yaml.safe_load(commented()), "defaults") == Config()
    assert (ROOT / "config" / "config.yaml").read_text() == commented()


def test_a_dumped_config_is_the_same_config():
    config = parse(study() | {"cohorts": {"a": {"path": "/x"}}}, "here")
    assert parse(yaml.safe_load(dump(config)), "again") == config


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"sed": 1}, r"^here: `sed` is not a key\. Did you mean `seed`\?$"),
        (study(imgae_size=3), r"`training\.lungs\.imgae_size` is not a key\. Did you mean `image_size`\?"),
        ({"limits": {"max_pixel": 1}}, r"`limits\.max_pixel` is not a key\. Did you mean `max_pixels`\?"),
        ({"folds": 1}, r"`folds`: .*greater than or equal to 2 \(found 1\)"),
        ({"cohorts": {"a": {}}}, r"`cohorts\.a`: give `path`, or `dataset`"),
        ({"cohorts": {"a b": {"path": "x"}}}, r"cohort `a b`: a name has letters"),
        ({"cohorts": {"coronacases": {"path": "x"}}}, r"the name of a dataset; choose another"),
        (
            {"cohorts": {"a": {"path": "x", "out": "o"}, "b": {"path": "y", "out": "o/"}}},
            r"cohorts `a` and `b` would be written to the same folder",
        ),
        ({"datasets": {"medseg": "x"}}, r"no dataset is called `medseg`; known: .*\. Did you mean `medseg829`\?"),
        ({"methods": ["khan"]}, r"no method is called `khan`.*Did you mean `khan2020`\?"),
        (
            study(task="classify", model="xception", regime="scratch_original"),
            r"`xception` takes images of at least 71 px",
        ),
        (
            study(task="classify", model="vgg16", regime="scratch_original", width=0.5),
            r"`vgg16` comes in its published width only",
        ),
        (study(model="nabla"), r"no model is called `nabla`.*Did you mean `nabla3`\?"),
        (study(model="cov_ctnet"), r"`cov_ctnet` does not segment_lungs; it does: classify"),
        (study(regime="scratch_wavelet"), r"no regime of segment_lungs is called `scratch_wavelet`"),
        (study(dataset="covid-cxr"), r"dataset `covid-cxr` has no lung_mask; these have: medseg829"),
        (
            study(schedule="t"),
            r"training `lungs` wants schedule `t`; under `schedules` there are: alom2020_ct_full, .*, s,",
        ),
        (study(init_from="lung"), r"init_from: `lung` is not under `training`: lungs\. Did you mean `lungs`\?"),
        (study(init_from="lungs"), r"training `lungs` starts from itself: lungs <- lungs"),
        (
            {
                "training": {"a": RECIPE | {"init_from": "b"}, "b": RECIPE | {"fold": 1, "width": 0.5}},
                "schedules": SCHEDULE,
            },
            r"training `a` starts from `b` and must have its model and width: nabla3, 0\.5, not nabla3, 1",
        ),
        ({"schedules": {"s": SCHEDULE["s"] | {"augment": "standart"}}}, r"Did you mean `standard`\?"),
        ({"schedules": {"s": SCHEDULE["s"] | {"gpus": 2}}}, r"batch_size 1 cannot be shared evenly by 2 gpus"),
        (study(fold=5), r"wanted a fold from 0 to 4, found 5"),
        (
            study() | {"models": {"ct": {"classify": "lungs"}}},
            r"models\.ct\.classify: `lungs` is trained to segment_lungs",
        ),
        (
            study(task="classify", dataset="kermany", model="cov_ctnet", regime="scratch_original")
            | {"models": {"ct": {"classify": "lungs"}}},
            r"models\.ct\.classify: `lungs` is trained to tell pneumonia, and COVID-19 is screened for: name one "
            r"that is trained on medseg829 or .*, or null",
        ),
        (
            study(task="classify", dataset="covid-cxr", model="cov_ctnet", regime="scratch_original")
            | {"models": {"xr": {"classify": "lungs"}}},
            r"models\.xr\.classify: `lungs` is trained to tell COVID-19, and pneumonia is screened for: name one "
            r"that is trained on kermany, or null",
        ),
        (
            {"models": {"xr": {"classify": "shipped:ct_screening"}}},
            r"models\.xr\.classify: no shipped weights `ct_screening` for this; there are: xr_screening",
        ),
        ([], r"here: wanted a mapping of keys to values, found list"),
    ],
)
def test_a_fault_is_told_by_its_key_and_with_what_would_work(raw, message):
    with pytest.raises(BadConfig, match=message):
        parse(raw, "here")


def test_two_recipes_never_share_a_folder():
    with pytest.raises(BadConfig, match="`one` and `two` would be written to the same folder"):
        parse({"training": {"one": RECIPE, "two": RECIPE | {"width": 0.5}}, "schedules": SCHEDULE}, "here")


def test_a_file_that_is_missing_or_no_yaml_is_told(tmp_path):
    with pytest.raises(BadConfig, match="there is no such config file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(BadConfig, match="not readable as YAML"):
        load(tmp_path / "bad.yaml")


def test_a_dataset_lies_where_the_config_or_the_environment_says(monkeypatch):
    config = parse(
        {
            "data": "d",
            "datasets": {"phantom-ct": "p/ct"},
            "cohorts": {"unseen": {"dataset": "phantom-ct", "path": "q/ct"}},
        },
        "here",
    )
    monkeypatch.delenv("COVIDPIPE_DATA", raising=False)
    assert config.source_root("medseg829") == Path("d/medseg829")
    monkeypatch.setenv("COVIDPIPE_DATA", "/elsewhere")
    assert config.source_root("medseg829") == Path("/elsewhere/medseg829")
    assert config.source_root("phantom-ct") == Path("p/ct")
    assert config.source_root("unseen") == Path("q/ct")
    with pytest.raises(BadConfig, match="Did you mean `unseen`"):
        config.source_root("unsen")


# Row of the published hyperparameters -> the schedule that holds them.
SCHEDULE_OF = {
    ("Alom", "IRRCNN pneumonia/COVID-Det_X-ray"): "alom2020_xray",
    ("Alom", 'COVID-Det_CT ("same parameters")'): "alom2020_ct",
    ("Alom", "NABLA-3 COVID-Seg_X-ray"): "alom2020_lungs",
    ("Alom", "NABLA-3 COVID-Seg_CT"): "alom2020_lungs",
    ("Khan", "all classifiers and segmenters"): "khan2020",
}


def test_the_papers_schedules_are_as_published():
    file = ROOT.parent / "shared" / "papers" / "published" / "hyperparameters.csv"
    if not file.exists():
        pytest.skip(f"the published hyperparameters are not at {file}")
    with file.open(newline="") as handle:
        rows = {(row["paper"], row["model"]): row for row in csv.DictReader(handle)}
    for key, name in SCHEDULE_OF.items():
        row, full = rows[key], Config().schedules[f"{name}_full"]
        assert full.optimizer == row["optimizer"].lower() and full.learning_rate == float(row["lr"])
        assert full.momentum == float(row["momentum"] or 0)
        assert [full.batch_size] == [int(row["batch"] or full.batch_size)]
        assert [full.epochs] == [int(row["epochs"] or full.epochs)]
        assert (full.loss == "dice") == ("Dice" in row["loss"])
        assert (full.decay == "step") == row["schedule"].startswith("/10 every 25")
        assert full.decay_every == 25
        short = Config().schedules[f"{name}_short"]
        assert short.epochs * 5 == full.epochs and short.learning_rate == full.learning_rate


def test_a_studys_own_schedule_goes_before_the_one_of_that_name_that_comes_along():
    config = parse({"schedules": {"short": SCHEDULE["s"]}}, "here")
    assert config.schedules["short"].epochs == 1 and config.schedules["khan2020_full"].epochs == 30


def test_a_network_may_start_from_another_of_the_study():
    child = RECIPE | {"dataset": "coronacases", "init_from": "lungs"}
    config = parse({"training": {"lungs": RECIPE, "child": child}, "schedules": SCHEDULE}, "here")
    assert config.training["child"].init_from == "lungs"
    circle = {"a": RECIPE | {"init_from": "b"}, "b": child | {"init_from": "a"}}
    with pytest.raises(BadConfig, match="training `a` starts from itself: a <- b <- a"):
        parse({"training": circle, "schedules": SCHEDULE}, "here")


@pytest.mark.parametrize(("given", "meant"), [(True, "standard"), (False, "none"), ("geometric", "geometric")])
def test_augmentation_may_be_a_yes_or_a_no(given, meant):
    config = parse({"schedules": {"s": SCHEDULE["s"] | {"augment": given}}}, "here")
    assert config.schedules["s"].augment == meant


def test_a_lung_view_needs_lung_masks_and_lesions_are_carried_for_their_own_task_only():
    recipe = {"dataset": "kermany", "model": "cov_ctnet", "regime": "lung_view", "task": "classify", "image_size": 82}
    with pytest.raises(BadConfig, match=r"`lung_view` looks at the lungs alone, and `kermany` has no lung masks"):
        parse({"training": {"a": recipe}}, "here")
    recipe |= {"dataset": "medseg829", "schedule": "s"}
    schedules = {"s": {"epochs": 1, "batch_size": 1, "learning_rate": 0.1, "augment": "lesions"}}
    with pytest.raises(BadConfig, match=r"`a`: `augment: lesions` .* not for classify; take `lungs`"):
        parse({"training": {"a": recipe}, "schedules": schedules}, "here")
    recipe |= {"validation": "none"}
    with pytest.raises(BadConfig, match=r"`validation: none` is for masks"):
        parse({"training": {"a": recipe}}, "here")
