"""From masks to rows: exact counts, null where undefined, a row for every image and method."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
import tiny_cohort as tiny
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from covidpipe.config import Tissue
from covidpipe.errors import BadTable
from covidpipe.harmonize import Transform
from covidpipe.io.files import read_table
from covidpipe.io.store import write_store
from covidpipe.quantify import infection_percent, percentages
from covidpipe.quantify.percentages import quantify_image, refusal
from covidpipe.quantify.sides import split_lungs
from covidpipe.schemas import IMAGES, INFECTION, MASK_INDEX
from covidpipe.stages import quantify

MASK = arrays(bool, (4, 5), elements=st.booleans())


def drawing(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def write_masks(folder, images, *, leave_out=(), transforms=None, reasons=None):
    """The masks that were drawn, as predict would tell them, for both methods."""
    index, lungs, infections = [], [], []
    for row in read_table(images, IMAGES).to_pylist():
        for method in ("alom2020", "khan2020"):
            key = (row["image_id"], method)
            if not row["accepted"] or key in leave_out or (method == "khan2020" and row["modality"] == "xr"):
                continue
            _, lung, infection = tiny.pictures()[row["image_id"]]
            why = (reasons or {}).get(key, [])
            index.append(
                {
                    "n": len(index),
                    "image_id": row["image_id"],
                    "method": method,
                    **Transform.fit(tiny.SIZE, tiny.SIZE, tiny.SIZE).as_dict(),
                    "covid_probability": 0.25 if method == "khan2020" else None,
                    "covid_positive": False if method == "khan2020" else None,
                    "split": "test",
                    "lung_model_id": "nabla3@0",
                    "reasons": why,
                }
            )
            lungs.append(lung & ("unreadable" not in why))
            infections.append(infection)
    block = {"lung_mask": np.array(lungs, np.uint8), "infection_mask": np.array(infections, np.uint8)}
    shapes = dict.fromkeys(block, (tiny.SIZE, tiny.SIZE))
    write_store(folder, "masks.zarr", index, MASK_INDEX, [block], shapes, len(index), len(index))
    return folder


def rows_of(path):
    return {(row["image_id"], row["method"]): row for row in read_table(path, INFECTION).to_pylist()}


def test_percent_by_hand():
    lung = drawing("####", "####", "....")
    infection = drawing("##..", "#...", "####")
    assert infection_percent(infection, lung) == 37.5  # what lies outside the lung does not count
    assert infection_percent(lung, lung) == 100.0
    assert infection_percent(np.zeros_like(lung), lung) == 0.0
    assert infection_percent(infection, np.zeros_like(lung)) is None
    assert infection_percent(infection * np.uint8(255), lung.astype(np.uint8)) == 37.5
    with pytest.raises(ValueError, match=r"one shape.*\(3, 4\).*\(2, 2\)"):
        infection_percent(infection, np.ones((2, 2), bool))


@given(MASK, MASK)
def test_percent_is_the_ratio_of_whole_numbers(infection, lung):
    told = infection_percent(infection, lung)
    if not lung.any():
        assert told is None
    else:
        assert told == 100 * int((infection & lung).sum()) / int(lung.sum())
        assert 0 <= told <= 100


def test_areas_need_spacing_and_know_that_pixels_are_not_square():
    _, lung, infection = tiny.chest(360)
    told = quantify_image(infection, lung, (0.5, 3.0), orientation="L\\P")
    assert told == {
        "lung_px": 1800,
        "infected_px": 360,
        "lung_mm2": 2700.0,
        "infected_mm2": 540.0,
        "infection_percent": 20.0,
        "right_lung_px": 900,
        "right_lung_percent": 40.0,
        "left_lung_px": 900,
        "left_lung_percent": 0.0,
        "lesion_count": 1,
        "largest_lesion_mm2": 540.0,
        "qc_status": "ok",
        "qc_reasons": [],
    }
    without = quantify_image(infection, lung)
    assert without["lung_mm2"] is without["largest_lesion_mm2"] is None and without["lesion_count"] == 1


def test_lesions_by_hand():
    lung = drawing("######..####", "######..####", "######..####")
    infection = drawing("##...#..#.##", ".....#......", "#..........#")
    told = quantify_image(infection, lung, (2.0, 1.0))
    # what lies outside of the lung is no lesion, and touching at a corner is touching
    assert (told["lesion_count"], told["largest_lesion_mm2"]) == (6, 4.0)
    assert (told["right_lung_percent"], told["left_lung_percent"]) == (100 * 5 / 18, 100 * 4 / 12)
    none = quantify_image(np.zeros_like(lung), lung, (2.0, 1.0))
    assert (none["lesion_count"], none["largest_lesion_mm2"]) == (0, None)


def test_tissue_is_told_in_hounsfield_units_only():
    lung = np.ones((1, 8), bool)
    infection = drawing("######..")
    hu = np.array([[-900, -751, -750, -300, 50, 49, -500, 0]])
    told = quantify_image(infection, lung, hu=hu)
    assert (told["ggo_percent"], told["consolidation_percent"]) == (12.5, 25.0)
    narrow = Tissue(ground_glass_hu=(-800, -700), consolidation_hu=(0, 60))
    told = quantify_image(infection, lung, hu=hu, tissue=narrow)
    assert (told["ggo_percent"], told["consolidation_percent"]) == (25.0, 25.0)
    assert "ggo_percent" not in quantify_image(infection, lung)
    nothing = quantify_image(infection, np.zeros_like(lung), hu=hu)
    assert nothing["ggo_percent"] is nothing["consolidation_percent"] is nothing["lesion_count"] is None
    screened = quantify_image(infection, lung, hu=hu, screened_negative=True)
    assert (screened["ggo_percent"], screened["lesion_count"], screened["infected_px"]) == (0.0, 0, 0)


def test_the_codebook_tells_the_default_densities():
    texts = {column.name: column.text for column in INFECTION.columns}
    for name, (low, high) in (("ggo", Tissue().ground_glass_hu), ("consolidation", Tissue().consolidation_hu)):
        assert f"from {low:g} to below {high:g} HU" in texts[f"{name}_percent"]
    for wrong in ({"ground_glass_hu": (-300, -750)}, {"consolidation_hu": (-400, 50)}):
        with pytest.raises(ValueError, match=r"lower one|overlap"):
            Tissue(**wrong)


def test_lungs_are_parted_where_they_touch_and_stay_whole_where_they_cross():
    touching = np.zeros((40, 60), bool)
    touching[5:35, 4:28] = touching[5:35, 32:56] = touching[18:20, 28:32] = True
    right, left = split_lungs(touching)
    assert not (right & left).any() and np.array_equal(right | left, touching)
    assert abs(int(right.sum()) - int(left.sum())) <= 2 * 4 and right[:, :28].sum() == 30 * 24
    crossing = np.zeros((40, 60), bool)
    crossing[2:38, 12:33] = True  # reaches over the middle, and is taller than wide
    assert split_lungs(crossing)[0].sum() == crossing.sum()
    assert split_lungs(crossing[:, ::-1])[1].sum() == crossing.sum()
    assert not any(side.any() for side in split_lungs(np.zeros((4, 4), bool)))


def test_a_film_from_the_side_has_no_right_and_left():
    _, lung, infection = tiny.chest(360)
    told = quantify_image(infection, lung, orientation="A\\F")
    assert told["infection_percent"] == 20.0 and "right_lung_percent" not in told
    assert "side_assumed" not in told["qc_reasons"]
    assert "side_assumed" in quantify_image(infection, lung)["qc_reasons"]


def test_what_is_odd_is_told():
    _, lung, infection = tiny.chest(360)
    nothing = np.zeros_like(lung)

    def quantify_image(*masks, **what):
        return percentages.quantify_image(*masks, orientation="RAS", **what)

    none = quantify_image(nothing, nothing)
    assert (none["infection_percent"], none["qc_status"], none["qc_reasons"]) == (None, "warning", ["no_lung"])
    screened = quantify_image(nothing, lung, screened_negative=True)
    assert (screened["infection_percent"], screened["qc_status"]) == (0.0, "ok")
    assert screened["qc_reasons"] == ["screened_negative"]
    both = quantify_image(nothing, nothing, screened_negative=True)
    assert (both["infection_percent"], both["qc_status"]) == (0.0, "warning")
    assert both["qc_reasons"] == ["no_lung", "screened_negative"]
    warned = quantify_image(infection, lung, warnings=("gantry_tilt", "duplicate"))
    assert (warned["qc_status"], warned["qc_reasons"]) == ("warning", ["duplicate", "gantry_tilt"])


def test_one_row_for_every_image_and_method(tmp_path):
    images = tiny.write_images(tmp_path)
    screened = {(tiny.HEALTHY, "khan2020"): ["screened_negative"]}
    masks = write_masks(tmp_path / "masks", images, reasons=screened)
    quantify.run(tiny.config(tmp_path), "c", images, masks, 0, tmp_path / "infection.parquet")
    rows = rows_of(tmp_path / "infection.parquet")
    assert len(rows) == 4 * 2
    ill = rows[tiny.ILL, "alom2020"]
    assert (ill["lung_px"], ill["infected_px"], ill["infection_percent"]) == (1800, 360, 20.0)
    assert (ill["lung_mm2"], ill["infected_mm2"]) == (1800.0, 360.0)  # 0.5 mm x 2 mm
    assert (ill["qc_status"], ill["split"], ill["patient_id"]) == ("ok", "test", "patient-0")
    healthy = rows[tiny.HEALTHY, "khan2020"]
    assert (healthy["infection_percent"], healthy["qc_reasons"]) == (0.0, ["screened_negative", "side_assumed"])
    assert healthy["covid_probability"] == 0.25 and healthy["lung_mm2"] is None
    xray = rows[tiny.XRAY, "alom2020"]
    assert (xray["infection_percent"], xray["qc_reasons"]) == (10.0, ["modality_guessed", "side_assumed"])
    refused = rows[tiny.XRAY, "khan2020"]
    assert (refused["qc_status"], refused["qc_reasons"]) == ("rejected", ["method_not_for_modality"])
    assert refused["infection_percent"] is refused["lung_px"] is refused["split"] is None
    for method in ("khan2020", "alom2020"):
        broken = rows[tiny.BROKEN, method]
        assert (broken["qc_status"], broken["qc_reasons"]) == ("rejected", ["unreadable"])
        assert broken["infection_percent"] is None and broken["source_sha256"] == "00"


def test_no_network_and_no_longer_readable_are_reasons(tmp_path):
    images = tiny.write_images(tmp_path)
    gone = {(tiny.ILL, "alom2020"): ["unreadable"]}
    masks = write_masks(tmp_path / "masks", images, reasons=gone)
    config = tiny.config(tmp_path, models={"ct": {"segment_lungs": "shipped:ct_lungs"}})
    assert refusal(config, "khan2020", "ct") == refusal(config, "alom2020", "xr") == "no_model_for_modality"
    quantify.run(config, "c", images, masks, 0, tmp_path / "infection.parquet")
    rows = rows_of(tmp_path / "infection.parquet")
    for key in ((tiny.ILL, "khan2020"), (tiny.XRAY, "alom2020")):
        assert (rows[key]["qc_status"], rows[key]["qc_reasons"]) == ("rejected", ["no_model_for_modality"])
    ill = rows[tiny.ILL, "alom2020"]
    assert (ill["qc_status"], ill["qc_reasons"], ill["lung_px"]) == ("rejected", ["unreadable"], None)


def test_masks_of_another_table_are_an_error(tmp_path):
    images = tiny.write_images(tmp_path)
    masks = write_masks(tmp_path / "masks", images, leave_out=[(tiny.ILL, "khan2020")])
    with pytest.raises(BadTable, match=r"masks of image b-ill by khan2020, found none.*Run predict again"):
        quantify.run(tiny.config(tmp_path), "c", images, masks, 0, tmp_path / "infection.parquet")
    assert not (tmp_path / "infection.parquet").exists()


@pytest.mark.real_data
def test_true_masks_give_the_percentages_counted_directly(real_data):
    root = real_data / "medseg829"
    with (root / "index.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    told = 0
    for name in names[::8]:
        lung, infection = (
            cv2.imread(str(root / kind / name), cv2.IMREAD_GRAYSCALE) > 0 for kind in ("lung", "infection")
        )
        native = Transform.fit(*lung.shape, max(lung.shape))
        there_and_back = [native.to_native(native.forward_mask(mask)) for mask in (infection, lung)]
        found = quantify_image(*there_and_back)["infection_percent"]
        counted = int(np.sum(lung & infection)), int(np.sum(lung))
        if counted[1] == 0:
            assert found is None
        else:
            assert found == pytest.approx(100 * counted[0] / counted[1], abs=1e-6)
            told += 1
    assert told > 80
