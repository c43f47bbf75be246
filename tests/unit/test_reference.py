"""The reference of a method: lesion-free images that its networks have not seen, told for that composition only."""

from __future__ import annotations

import shutil

import pytest
import tiny_cohort as tiny
from test_quantify import write_masks

from covidpipe import paths, workflow
from covidpipe.config import Config
from covidpipe.inference import engine
from covidpipe.io.files import read_json, read_table, write_json, write_table
from covidpipe.provenance import PACKAGE
from covidpipe.quantify.reference import FEWEST, Reference, deciding_settings, references_of
from covidpipe.registry import METHODS, SHIPPED
from covidpipe.schemas import IMAGES, INFECTION
from covidpipe.stages import quantify, reference


def stored(config, method, models, percents, modality="ct"):
    told = {"models": models, "settings": deciding_settings(config, method), "percents": percents}
    told |= {"images": len(percents), "patients": 1, "datasets": ["d"]}
    return {"modality": modality, "methods": {method: told}}


@pytest.mark.parametrize(("percent", "rank"), [(0.0, 20.0), (0.5, 40.0), (2.0, 70.0), (3.0, 80.0), (9.0, 100.0)])
def test_percentiles_by_hand(percent, rank):
    healthy = Reference({}, {}, (0.0, 0.0, 2.0, 2.0, 5.0), 5, 1, ())
    assert healthy.percentile(percent) == (60.0 if percent == 2.0 else rank)


def test_a_reference_holds_for_its_networks_and_settings_only():
    config = Config()
    ((key, (healthy,)),) = references_of(
        [stored(config, "khan2020", {"classify": "c@1", "segment_lungs": "l@1"}, [1])]
    ).items()
    assert key == ("ct", "khan2020")
    settings = deciding_settings(config, "khan2020")
    found = {"classifier_id": "c@1", "lung_model_id": "l@1", "infection_model_id": None}
    assert healthy.fits(found, settings)
    assert not healthy.fits(found | {"lung_model_id": "l@2"}, settings)
    assert not healthy.fits(found | {"infection_model_id": "i@1"}, settings)
    assert not healthy.fits(dict.fromkeys(found), settings)
    assert not healthy.fits(found, deciding_settings(Config(segment="positives"), "khan2020"))
    assert healthy.fits(found, deciding_settings(Config(threshold={"offset": 3}), "khan2020"))
    assert deciding_settings(config, "alom2020") != deciding_settings(Config(threshold={"offset": 3}), "alom2020")


def test_quantify_ranks_a_percentage_among_its_own_reference(tmp_path):
    images = tiny.write_images(tmp_path)
    config = tiny.config(tmp_path)
    masks = write_masks(tmp_path / "masks", images)
    file, other = tmp_path / "ct.json", tmp_path / "xr.json"
    write_json(file, stored(config, "alom2020", {"segment_lungs": "nabla3@0"}, [0.0, 5.0, 10.0, 30.0]))
    write_json(other, stored(config, "alom2020", {"segment_lungs": "nabla3@1"}, [0.0], "xr"))
    quantify.run(config, "c", images, masks, 0, tmp_path / "infection.parquet", [file, other])
    rows = read_table(tmp_path / "infection.parquet", INFECTION).to_pylist()
    found = {(row["image_id"], row["method"]): row["reference_percentile"] for row in rows}
    assert found[tiny.ILL, "alom2020"] == 75.0  # 20 % infected
    assert found[tiny.HEALTHY, "alom2020"] == 12.5
    assert found[tiny.ILL, "khan2020"] is None  # none was made for it
    assert found[tiny.XRAY, "alom2020"] is None  # made with another network
    assert found[tiny.BROKEN, "alom2020"] is None


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """The tiny images as the dataset medseg829: both slices lesion-free, the second one trained on."""
    monkeypatch.setattr(engine, "PACKAGE", tmp_path)
    table = tiny.write_images(tmp_path)
    rows = read_table(table, IMAGES).to_pylist()
    shas = {row["image_id"]: row["source_sha256"] for row in rows}
    for row in rows:
        row["lesion_free"] = True if row["image_id"] in (tiny.HEALTHY, tiny.ILL) else None
    config = tiny.config(tmp_path, datasets={"medseg829": str(tmp_path / "files")})
    write_table(paths.images(config, "medseg829"), rows, IMAGES)
    parts = {shas[tiny.HEALTHY]: "validation", shas[tiny.ILL]: "test", shas[tiny.XRAY]: "test"}
    return config, shas, parts


def test_the_images_are_lesion_free_and_unseen_and_not_too_few(labelled, tmp_path, monkeypatch):
    config, shas, parts = labelled
    monkeypatch.setattr(reference, "FEWEST", 2)
    tiny.write_networks(tmp_path, parts=parts)
    reference.run(config, "ct", ["medseg829"], tmp_path / "ct.json")
    told = read_json(tmp_path / "ct.json")["methods"]
    assert told["alom2020"]["percents"] == [0.0, 20.0]
    assert (told["alom2020"]["images"], told["alom2020"]["patients"]) == (2, 1)
    assert set(told["khan2020"]["models"]) == {"classify", "segment_lungs", "segment_infection"}
    record = read_json(tmp_path / "weights" / "ct_lungs" / "run.json")
    write_json(
        tmp_path / "weights" / "ct_lungs" / "run.json",
        record | {"images": parts | {shas[tiny.ILL]: "train"}},
    )
    reference.run(config, "ct", ["medseg829"], tmp_path / "ct.json")
    assert read_json(tmp_path / "ct.json")["methods"] == {}  # one image is left


def test_a_cohort_takes_its_studys_reference_or_the_shipped_one(tmp_path, monkeypatch):
    trained = {
        "training": {
            "lungs": {"task": "segment_lungs", "dataset": "medseg829", "model": "nabla3", "regime": "scratch",
                      "image_size": 32}
        },
        "cohorts": {"c": {"path": "x", "modality": "ct"}},
    }  # fmt: skip
    own = Config.model_validate(trained | {"models": {"ct": {"segment_lungs": "lungs"}}})
    assert workflow.reference_datasets(own, "ct") == ["medseg829"]
    assert workflow.cohort_references(own, "c") == [paths.reference(own, "ct")]
    shipped = Config.model_validate({"cohorts": {"c": {"path": "x", "modality": "ct"}}})
    assert workflow.cohort_references(shipped, "c") == [PACKAGE / "weights" / "reference-ct.json"]
    monkeypatch.setattr(workflow, "PACKAGE", tmp_path)
    assert workflow.cohort_references(shipped, "c") == []


@pytest.mark.parametrize("modality", ["ct", "xr"])
def test_the_shipped_reference_is_of_the_shipped_networks_and_the_defaults(modality):
    found = references_of([read_json(PACKAGE / "weights" / f"reference-{modality}.json")])
    ids = {}
    for name, (task, of_modality) in SHIPPED.items():
        if of_modality == modality:
            record = read_json(PACKAGE / "weights" / name / "run.json")
            ids[task] = f"{record['recipe']['model']}@{record['weights_sha256'][:12]}"
    assert {method for _, method in found} == {m for m, spec in METHODS.items() if modality in spec.roles}
    for (_, method), (one,) in found.items():
        assert one.models == {task: ids[task] for task in METHODS[method].roles[modality]}
        assert one.settings == deciding_settings(Config(), method), "make it again: covidpipe reference"
        assert len(one.percents) == one.images >= FEWEST and list(one.percents) == sorted(one.percents)


def test_shipping_takes_the_reference_along(tmp_path):
    from test_ship import study

    from covidpipe.stages import ship

    config = study(tmp_path, "ct_lungs")
    recipe = config.training["ct_lungs"]
    for file in ("model.keras", "history.parquet", "run.json"):
        (paths.model(config, recipe) / file).parent.mkdir(parents=True, exist_ok=True)
        (paths.model(config, recipe) / file).write_text(file)
    paths.metrics(config, recipe).mkdir(parents=True)
    (paths.metrics(config, recipe) / "card.md").write_text("# Results\n")
    write_json(paths.reference(config, "ct"), {"modality": "ct", "methods": {}})
    ship.run(config, tmp_path / "weights")
    assert read_json(tmp_path / "weights" / "reference-ct.json")["modality"] == "ct"
    shutil.rmtree(tmp_path / "weights")
