"""Where things lie, and what a job depends on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from covidpipe import paths, workflow
from covidpipe.config import Tissue, load, parse
from covidpipe.errors import BadConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo():
    return load(ROOT / "config" / "demo.yaml")


def test_paths_are_those_that_results_readme_draws(demo):
    lungs, screening = demo.training["ct_lungs"], demo.training["ct_screening"]
    assert paths.images(demo, "phantom-ct") == Path("results/demo/ingest/phantom-ct/images.parquet")
    assert paths.split(demo, "phantom-ct", "grouped") == Path("results/demo/splits/phantom-ct/grouped.parquet")
    size = lungs.image_size
    assert paths.store(demo, lungs) == Path(f"results/demo/harmonized/phantom-ct/{size}")
    assert paths.store(demo, screening) == Path(f"results/demo/wavelet/phantom-ct/{screening.image_size}/paper_haar")
    assert paths.model(demo, lungs) == Path(
        "results/demo/models/phantom-ct/segment_lungs/nabla3/scratch/grouped/fold-0"
    )
    assert paths.shard(demo, "unseen_ct", 3) == Path("results/demo/cohorts/unseen_ct/shards/00003")


def test_a_cohort_may_have_a_folder_of_its_own():
    config = parse({"cohorts": {"a": {"path": "x", "out": "/y/a"}, "b": {"path": "x"}}}, "here")
    assert (paths.cohort(config, "a"), paths.cohort(config, "b")) == (Path("/y/a"), Path("results/cohorts/b"))
    assert workflow.cohort_at(config, "/y/a") == "a"


def test_a_recipe_is_found_by_the_wildcards_of_its_model(demo):
    for name, recipe in demo.training.items():
        given = {key: str(getattr(recipe, key)) for key in workflow.RECIPE_KEYS}
        assert workflow.recipe_name(demo, given) == name


def test_a_cohort_needs_the_networks_of_its_methods_and_modality(demo):
    assert workflow.cohort_recipes(demo, "unseen_ct") == ["ct_infection", "ct_lungs", "ct_screening"]
    assert workflow.cohort_recipes(demo, "unseen_xr") == ["xr_lungs"]
    assert workflow.has_truth(demo, "unseen_ct")


def test_weights_that_are_not_there_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(workflow, "PACKAGE", tmp_path)
    networks = {"models": {"xr": {"segment_lungs": "shipped:xr_lungs"}}}
    config = parse({"cohorts": {"a": {"path": "x", "modality": "xr"}}, "methods": ["alom2020"]} | networks, "here")
    with pytest.raises(BadConfig, match=r"models\.xr\.segment_lungs: `shipped:xr_lungs`: .* is not there"):
        workflow.cohort_models(config, "a")


def test_phantoms_that_the_study_makes_are_known_by_their_folder(demo):
    assert workflow.phantoms_of(demo, "phantom-ct") == "train"
    assert workflow.phantoms_of(demo, "unseen_xr") == "unseen"
    assert workflow.phantoms_of(demo, "medseg829") is None


def test_settings_move_with_what_matters_to_a_stage_only(demo):
    given = {key: str(getattr(demo.training["ct_lungs"], key)) for key in workflow.RECIPE_KEYS}
    given |= {
        "modality": "ct",
        "name": "unseen_ct",
        "phantoms": "train",
        "cohort_out": str(paths.cohort(demo, "unseen_ct")),
    }
    stages = ("phantoms", "ingest", "split", "harmonize", "wavelet", "train", "evaluate", "predict", "quantify")
    stages += ("reference", "conformal", "collect", "score", "report")

    def moved(**update):
        other = demo.model_copy(update=update)
        return {s for s in stages if workflow.settings(demo, s, given) != workflow.settings(other, s, given)}

    assert moved(report_cases=1) == {"report"}
    assert moved(folds=7) == {"split", "train", "evaluate"}
    # quantify compares them with those of the reference and of the calibration
    found_anew = {"report", "predict", "quantify", "reference", "conformal"}
    assert moved(segment="all") == found_anew
    assert moved(file_rows=9) == {"collect"}
    assert moved(threshold=demo.threshold.model_copy(update={"offset": 1.0})) == found_anew
    assert moved(intervals=demo.intervals.model_copy(update={"level": 0.7})) == {"quantify", "conformal"}
    assert moved(tissue=Tissue(consolidation_hu=(-200, 50))) == {"quantify"}
    assert moved(limits=demo.limits.model_copy(update={"max_frames": 1})) == {"ingest"}


def test_a_listing_moves_when_images_come_go_or_change(tmp_path):
    seen = {workflow.listing(tmp_path)}
    (tmp_path / "deep").mkdir()
    image = tmp_path / "deep" / "a.png"
    for content in (b"1", b"22"):
        image.write_bytes(content)
        seen.add(workflow.listing(tmp_path))
    os.utime(image, (1, 1))
    seen.add(workflow.listing(tmp_path))
    assert len(seen) == 4
    assert workflow.listing(tmp_path / "none") == workflow.listing(tmp_path / "nor this")


def test_no_word_matches_an_empty_choice():
    import re

    assert not re.fullmatch(workflow.any_of([]), "")
    assert re.fullmatch(workflow.any_of(["a.b"]), "a.b") and not re.fullmatch(workflow.any_of(["a.b"]), "aXb")
