"""Percentages beside the truth."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_cohort as tiny
from test_quantify import write_masks

from covidpipe.errors import BadConfig, BadTable
from covidpipe.io.files import read_table, write_table
from covidpipe.metrics.agreement import mean_absolute_error
from covidpipe.schemas import IMAGES, METRICS_IMAGES, METRICS_SUMMARY
from covidpipe.stages import quantify, score
from covidpipe.stages.score import Scored, summarize


def one(image, found, true, *, patient="p", split=None, lung=(8, 10, 10), infection=(1, 2, 2)):
    return Scored(image, patient, "khan2020", split, found, true, true == 0, lung, infection)


@pytest.fixture
def cohort(tmp_path):
    images = tiny.write_images(tmp_path)
    screened = {(tiny.ILL, "khan2020"): ["screened_negative"]}
    masks = write_masks(tmp_path / "masks", images, reasons=screened)
    config = tiny.config(tmp_path)
    quantify.run(config, "c", images, masks, 0, tmp_path / "infection.parquet")
    return config, images, tmp_path / "infection.parquet", [masks]


def test_errors_and_overlaps_by_hand(cohort, tmp_path):
    config, images, table, masks = cohort
    score.run(config, "c", images, table, masks, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "images.parquet", METRICS_IMAGES).to_pylist()
    value = {(row["image_id"], row["measure"]): row["value"] for row in rows}
    assert value[tiny.ILL, "alom2020.true_percent"] == 20.0
    assert value[tiny.ILL, "alom2020.error"] == 0.0
    assert value[tiny.ILL, "khan2020.error"] == -20.0  # wrongly screened negative
    assert value[tiny.ILL, "khan2020.absolute_error"] == 20.0
    assert value[tiny.ILL, "alom2020.lung_dice"] == value[tiny.ILL, "alom2020.infection_dice"] == 1.0
    assert value[tiny.HEALTHY, "alom2020.infection_dice"] is None  # both empty
    assert value[tiny.XRAY, "khan2020.error"] is None and value[tiny.XRAY, "khan2020.true_percent"] == 10.0
    summary = read_table(tmp_path / "out" / "summary.parquet", METRICS_SUMMARY).to_pylist()
    told = {(row["subject"], row["measure"]): row for row in summary}
    assert told["alom2020", "mean_absolute_error"]["value"] == 0.0
    assert told["khan2020", "mean_absolute_error"]["value"] == 10.0  # of 0 and 20; the X-ray has no percentage
    assert told["khan2020", "bias"]["value"] == -10.0
    missing = told["khan2020", "share_without_percent"]
    assert (missing["k"], missing["n"]) == (1, 3)
    assert told["always_zero for alom2020", "mean_absolute_error"]["value"] == pytest.approx(10.0)
    assert told["alom2020", "mean_absolute_error"]["patients"] == 2
    score.run(config, "c", images, table, masks, tmp_path / "again")
    for name in ("images.parquet", "summary.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_summary_leaves_out_what_the_networks_have_seen():
    rows = summarize(
        [
            one("a", 30.0, 10.0, split="train"),
            one("b", 12.0, 10.0, split="test"),
            one("c", 4.0, 0.0, patient="q"),
            one("d", None, 5.0, patient="q"),
        ],
        seed=0,
    )
    told = {(row["subject"], row["measure"]): row for row in rows}
    error = told["khan2020", "mean_absolute_error"]
    assert (error["value"], error["n"], error["patients"]) == (3.0, 2, 2)
    # two patients: one left out is 4 or 2, a standard error of 1, and Student's t of one degree is 12.7
    assert (error["low"], error["high"]) == (0.0, pytest.approx(3 + 12.706, abs=1e-3))
    assert error["interval"] == "jackknife of 2 patients"
    assert told["khan2020", "percent_on_lesion_free"]["value"] == 4.0
    assert told["khan2020", "lung_dice_pooled"]["value"] == pytest.approx(0.8)
    assert told["khan2020", "infection_dice_pooled"]["value"] == pytest.approx(0.5)
    assert (told["khan2020", "share_without_percent"]["k"], told["khan2020", "share_without_percent"]["n"]) == (1, 3)
    assert told["always_zero for khan2020", "mean_absolute_error"]["value"] == 5.0


def test_nothing_unseen_is_undefined_not_zero():
    rows = summarize([one("a", 1.0, 1.0, split="train")], seed=0)
    assert all(row["value"] is row["low"] is None and row["n"] == 0 for row in rows)
    assert mean_absolute_error(np.zeros((0, 2))) is None


def test_a_cohort_without_truth_says_so(cohort, tmp_path):
    config, images, table, masks = cohort
    rows = read_table(images, IMAGES).to_pylist()
    without = dict.fromkeys(("lung_mask_path", "infection_mask_path"))
    write_table(images, [row | without for row in rows], IMAGES)
    with pytest.raises(BadConfig, match=r"Cohort `c`.*found none.*covidpipe datasets"):
        score.run(config, "c", images, table, masks, tmp_path / "out")


def test_a_mask_that_went_says_so(cohort, tmp_path):
    config, images, table, masks = cohort
    (tmp_path / "files" / "lung" / f"{tiny.ILL}.png").unlink()
    with pytest.raises(BadTable, match=r"Image b-ill: wanted its lung mask.*run ingest again"):
        score.run(config, "c", images, table, masks, tmp_path / "out")
