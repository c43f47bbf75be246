"""From slices to patients: weights, volumes, series, and what is null when; all by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from covidpipe.io.files import to_table
from covidpipe.quantify.patients import Patients
from covidpipe.quantify.severity import severity_class
from covidpipe.quantify.volumes import series_volume
from covidpipe.registry import SEVERITY
from covidpipe.schemas import IMAGES, INFECTION, PATIENTS


def slice_of(n: int, lung_px: int | None, infected_px: int = 0, **more) -> dict:
    """Row of both tables: slice `n` of a series with pixels of 2 mm2, 5 mm apart."""
    told = lung_px is not None
    sized = more.pop("mm2", 2.0)
    return {
        "cohort": "c",
        "image_id": f"i{more.get('series_id', 'S')}{n:02d}",
        "patient_id": "P",
        "study_id": "T",
        "series_id": "S",
        "slice_index": n,
        "modality": "ct",
        "method": "alom2020",
        "lung_px": lung_px,
        "infected_px": infected_px if told else None,
        "lung_mm2": lung_px * sized if told and sized else None,
        "infected_mm2": infected_px * sized if told and sized else None,
        "infection_percent": 100 * infected_px / lung_px if lung_px else None,
        "qc_status": "ok" if told else "rejected",
        "qc_reasons": [],
        "pipeline_version": "0",
        "schema_version": "0",
        "path": "x",
        "frame": 0,
        "accepted": told,
        "warnings": [],
        "position_mm": 5.0 * n,
        "study_day": 3,
    } | more


def patients(rows: list[dict], cut: int | None = None) -> list[dict]:
    """Rows of PATIENTS, from tables that are written and come in pieces of `cut` rows."""
    infection = to_table([{name: row.get(name) for name in INFECTION.names} for row in rows], INFECTION)
    once = {row["image_id"]: row for row in rows}
    images = to_table([{name: row.get(name) for name in IMAGES.names} for row in once.values()], IMAGES)
    found = Patients()
    for start in range(0, len(infection), cut or len(infection)):
        found.add(infection.slice(start, cut or len(infection)), images)
    return to_table(found.rows(), PATIENTS).to_pylist()


def test_slices_weigh_by_their_lung():
    (row,) = patients([slice_of(0, 100, 90), slice_of(1, 900, 90), slice_of(2, 0), slice_of(3, None)])
    assert (row["images"], row["images_refused"], row["weighted_by"]) == (2, 2, "mm2")
    assert row["infection_percent"] == 18.0  # not 50, the mean of 90 % and 10 %
    assert (row["severity_class"], row["days_since_first_study"], row["series"]) == ("5-25", 3, 1)
    assert (row["max_image_percent"], row["max_image_id"]) == (90.0, "iS00")


def test_pixels_of_two_sizes_are_weighed_by_their_area():
    rows = [slice_of(0, 100, 50, mm2=4.0), slice_of(1, 100, 0, mm2=1.0)]
    (row,) = patients(rows)
    assert row["infection_percent"] == 40.0 and row["weighted_by"] == "mm2"
    assert (row["lung_px"], row["infected_px"]) == (200, 50)
    (row,) = patients([rows[0], slice_of(1, 100, 0, mm2=None)])
    assert row["infection_percent"] == 25.0 and row["weighted_by"] == "px"
    assert (row["lung_ml"], row["volume_status"]) == (None, "no_spacing")


def test_the_tip_of_a_lung_is_not_the_maximum():
    (row,) = patients([slice_of(0, 5, 5), slice_of(1, 1000, 300), slice_of(2, 1000, 300)])
    assert (row["max_image_percent"], row["max_image_id"]) == (30.0, "iS01")


def test_sides_and_tissue_of_a_patient():
    sides = {"right_lung_px": 60, "right_lung_percent": 50.0, "left_lung_px": 40, "left_lung_percent": 25.0}
    one_lung = {"right_lung_px": 100, "right_lung_percent": 10.0, "left_lung_px": 0}
    hu = {"ggo_percent": 30.0, "consolidation_percent": 10.0}
    rows = [slice_of(0, 100, 40, **sides, **hu), slice_of(1, 100, 10, **one_lung, **hu | {"ggo_percent": 10.0})]
    (row,) = patients(rows)
    assert (row["right_lung_percent"], row["left_lung_percent"]) == (25.0, 25.0)
    assert (row["ggo_percent"], row["consolidation_percent"]) == (20.0, 10.0)
    rows[1] |= {"ggo_percent": None}
    assert patients(rows)[0]["ggo_percent"] is None  # of half the lung it would say nothing of the patient


def test_studies_modalities_and_methods_stay_apart_and_the_cut_does_not_matter():
    rows = [slice_of(0, 100, 10), slice_of(1, 100, 30)]
    rows += [slice_of(0, 100, 0, method="khan2020"), slice_of(1, 100, 0, method="khan2020")]
    later = {"study_id": "U", "series_id": "V", "study_day": 20}
    rows += [slice_of(0, 100, 50, **later), slice_of(0, 100, 5, patient_id="Q", series_id="W")]
    film = {"modality": "xr", "series_id": "X", "position_mm": None, "image_id": "film"}
    rows += [slice_of(0, 100, 5, **film), slice_of(7, 100, 5, patient_id=None, image_id="nobody")]
    found = patients(rows)
    assert [(r["patient_id"], r["study_id"], r["modality"], r["method"]) for r in found] == [
        ("P", "T", "ct", "alom2020"),
        ("P", "T", "ct", "khan2020"),
        ("P", "T", "xr", "alom2020"),
        ("P", "U", "ct", "alom2020"),
        ("Q", "T", "ct", "alom2020"),
    ]
    assert [r["infection_percent"] for r in found] == [20.0, 0.0, 5.0, 50.0, 5.0]
    assert [r["days_since_first_study"] for r in found] == [3, 3, 3, 20, 3]
    assert (found[2]["severity_class"], found[2]["volume_status"]) == (None, None)
    assert all(patients(rows, cut) == found for cut in (1, 2, 3))


def test_volumes_are_of_one_series():
    thick = [slice_of(n, px, px // 4) for n, px in enumerate((0, 1000, 2000, 1000, 0))]
    thin = [slice_of(n, 1000, 250, series_id="A", position_mm=float(n)) for n in range(4)]
    (row,) = patients(thick + thin)
    assert (row["volume_series_id"], row["volume_slices"], row["slice_spacing_mm"]) == ("S", 5, 5.0)
    assert (row["lung_ml"], row["infected_ml"]) == (40.0, 10.0)  # 4000 px x 2 mm2 x 5 mm
    assert (row["volume_status"], row["volume_slices_missing"], row["lung_covered"]) == ("regular", 0, True)
    assert row["series"] == 2
    (row,) = patients(thin)
    assert row["lung_covered"] is False and row["lung_ml"] == 8.0


def test_missing_slices_are_bridged_up_to_a_tenth():
    areas = [0.0, *[1000.0] * 10, 0.0]
    whole = series_volume([3.0 * n for n in range(12)], areas, [a / 2 for a in areas])
    assert (whole.status, whole.lung_ml, whole.infected_ml) == ("regular", 30.0, 15.0)
    places = [3.0 * n for n in range(12) if n != 5]
    bridged = series_volume(places, areas[:-1][:5] + areas[6:], [0.0] * 11)
    assert (bridged.status, bridged.missing, bridged.lung_ml) == ("bridged", 1, pytest.approx(30.0))
    refused = series_volume([3.0 * n for n in range(12)], [*areas[:11], float("nan")], [0.0] * 12)
    assert (refused.status, refused.missing, refused.slices, refused.lung_ml) == ("bridged", 1, 11, 30.0)
    far = series_volume([0, 3, 6, 12, 18, 21], [10.0] * 6, [0.0] * 6)
    assert (far.status, far.missing, far.lung_ml) == ("missing_slices", 2, None)


@pytest.mark.parametrize(
    ("places", "status"),
    [
        ([0.0, 5.0, 5.0, 10.0], "irregular"),
        ([0.0, 5.0, 7.0, 15.0], "irregular"),
        ([0.0, 5.001, 9.999, 15.0], "regular"),
        ([0.0, float("nan"), 10.0, 15.0], "no_spacing"),
        ([4.0, 4.0, 4.0, 4.0], "irregular"),
    ],
)
def test_uneven_series_have_no_volume(places, status):
    found = series_volume(places, [10.0] * 4, [1.0] * 4)
    assert found.status == status and (found.lung_ml is not None) == (status == "regular")


def test_one_slice_is_no_volume():
    assert series_volume([0.0], [10.0], [1.0]).status == "no_spacing"
    assert series_volume([0.0, 5.0], [10.0, float("nan")], [1.0, 1.0]).slices == 1


def test_classes_are_those_of_the_registry_in_order():
    found = [severity_class(percent / 10) for percent in range(1001)]
    assert list(dict.fromkeys(found)) == list(SEVERITY)


def test_a_patient_without_any_percentage_is_a_row_of_nulls():
    (row,) = patients([slice_of(0, None), slice_of(1, 0)])
    assert (row["images"], row["images_refused"], row["lung_px"]) == (0, 2, 0)
    for name in ("infection_percent", "weighted_by", "severity_class", "max_image_id", "ggo_percent", "lung_ml"):
        assert row[name] is None


def test_nothing_in_nothing_out():
    found = Patients()
    found.add(INFECTION.schema.empty_table(), IMAGES.schema.empty_table())
    assert found.rows() == [] and isinstance(to_table(found.rows(), PATIENTS), pa.Table)
