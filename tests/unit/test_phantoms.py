"""Synthetic chests: what their masks promise, on drawings and on whole patients."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from covidpipe.errors import UsageError
from covidpipe.phantoms import (
    CONSOLIDATION_HU,
    EFFUSION_HU,
    GROUND_GLASS_HU,
    Anatomy,
    Body,
    Grid,
    Lesions,
    Tubes,
    Waves,
    _shadow,
    draw,
    phantom_volume,
    project,
)
from covidpipe.stages.phantoms import run

NO_WAVES = Waves(np.zeros((1, 3)), np.full(1, np.pi / 2))  # cos(pi / 2): 0 everywhere
SMALL = {"size": 48, "slices": 8}


def grid_of(anatomy: Anatomy, slices: int = 12, size: int = 96) -> Grid:
    return Grid.even((slices, size, size), (anatomy.height, anatomy.field_mm, anatomy.field_mm))


@pytest.fixture(scope="module")
def sick():
    return phantom_volume(56, size=96, slices=12)


# ---- drawn by hand -------------------------------------------------------------------------------------------------


def test_grid_cells_fill_the_box():
    grid = Grid.even((2, 4, 4), (10, 8, 4))
    assert grid.z.ravel().tolist() == [2.5, 7.5]
    assert grid.y.ravel().tolist() == [-3, -1, 1, 3]
    assert grid.x.ravel().tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert [slab.z.ravel().tolist() for slab in grid.slabs(1)] == [[2.5], [7.5]]


def test_a_wave_is_a_cosine():
    grid = Grid.even((3, 4, 5), (30, 20, 10))
    wave = Waves(np.array([[0.1, 0.2, 0.3]]), np.array([0.4]))
    expected = np.sqrt(2) * np.cos(0.1 * grid.z + 0.2 * grid.y + 0.3 * grid.x + 0.4)
    np.testing.assert_allclose(wave.on(grid), expected, atol=1e-6)


def test_depth_in_a_tapered_tube():
    grid = Grid.even((1, 1, 9), (1, 1, 9))  # along x, from -4 to 4
    tube = Tubes.through([(0.5, 0, -2), (0.5, 0, 2)], [1.0, 3.0])
    assert tube.depth(grid, floor=-9).ravel().tolist() == [-1, 0, 1, 1.5, 2, 2.5, 3, 2, 1]


def test_lesion_of_known_share():
    # One ball of radius 2 on a line of 8 points 1 mm apart: 4 of them are nearer than 2 mm, which is 50 %.
    grid = Grid.even((1, 1, 8), (1, 1, 8))
    ball = Lesions(np.array([[0.5, 0, 0]]), np.full((1, 3), 2.0), np.array([False]), NO_WAVES)
    line = np.ones((1, 1, 8), bool)
    closeness, solid = ball.closeness(grid, line)
    assert (closeness > 0).tolist() == [False, False, True, True, True, True, False, False]
    assert 100 * (closeness > ball.level).mean() == 50
    assert not (solid > ball.level).any()


def test_shadow_of_a_drawing():
    # One slice, three rays; lung on the first two, infection deep in the second, bone on the third.
    hu = np.array([[[-1000, -800, 400], [-800, -300, 0]]], np.float32)
    lung = np.array([[[False, True, False], [True, True, False]]])
    infection = np.array([[[False, False, False], [False, True, False]]])
    density, lung_shadow, infection_shadow = _shadow(Body(hu, lung, np.zeros_like(lung), infection))
    assert density.tolist() == [[200, 900, 1400 + 250 + 1000]]  # bone counts its excess over 150 HU once more
    assert lung_shadow.tolist() == [[True, True, False]]
    assert infection_shadow.tolist() == [[False, True, False]]


# ---- whole patients ------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), infected=st.booleans())
def test_masks_are_nested_for_any_seed(seed, infected):
    phantom = phantom_volume(seed, infected=infected, **SMALL)
    assert phantom.hu.shape == phantom.lung_mask.shape == phantom.infection_mask.shape == (8, 48, 48)
    assert not (phantom.infection_mask & ~phantom.lung_mask).any()
    assert not (phantom.left_lung_mask & ~phantom.lung_mask).any()
    assert phantom.infection_mask.any() == infected
    assert phantom.lung_mask.any() and phantom.hu.min() >= -1024 and phantom.hu.max() <= 3071


def test_same_seed_same_voxels_another_seed_others():
    first, again, other = (phantom_volume(seed, **SMALL) for seed in (7, 7, 8))
    for name in ("hu", "lung_mask", "infection_mask"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert (getattr(first, name) != getattr(other, name)).any()


def test_disease_does_not_change_the_body():
    sick, healthy = (phantom_volume(11, infected=infected, **SMALL) for infected in (True, False))
    np.testing.assert_array_equal(sick.lung_mask, healthy.lung_mask)
    assert not healthy.infection_mask.any()


def test_extent_varies_between_2_and_60_percent():
    shares = []
    for seed in range(12):
        phantom = phantom_volume(seed, size=40, slices=12)
        shares.append(100 * phantom.infection_mask.sum() / phantom.lung_mask.sum())
    assert 1 < min(shares) < 8 and 35 < max(shares) < 64


def test_lung_is_where_it_belongs(sick):
    lung = sick.lung_mask
    assert not lung[0].any() and not lung[-1].any() and lung[3:9].any(axis=(1, 2)).all()
    right = lung & ~sick.left_lung_mask
    assert sick.left_lung_mask.sum() < right.sum()  # the heart takes the left lung's place
    assert right.nonzero()[2].max() < 54 and sick.left_lung_mask.nonzero()[2].min() > 42  # column 0: patient's right
    areas = lung.sum(axis=(1, 2))
    assert areas[9] < areas[6] and areas.argmax() in range(3, 8)  # narrow at the apex


def test_tissues_have_their_density():
    anatomy = Anatomy.sample(56, infected=True)
    body = draw(dataclasses.replace(anatomy, contrast=0.0), grid_of(anatomy))
    healthy = body.hu[body.lung & ~body.infection]
    assert -900 < np.median(healthy) < -820 and healthy.max() < 50
    infected = body.hu[body.infection]
    assert infected.min() >= GROUND_GLASS_HU[0] and infected.max() <= CONSOLIDATION_HU[1]
    assert ((infected > CONSOLIDATION_HU[0]) & (infected < CONSOLIDATION_HU[1])).any()
    assert np.mean((infected > GROUND_GLASS_HU[0]) & (infected < GROUND_GLASS_HU[1])) > 0.5
    outside = body.hu[~body.lung]
    assert outside.max() > 500 and (outside == 60).any() and (np.abs(outside + 100) < 30).any()  # bone, liver, fat
    assert not (body.lung & (body.hu <= -980)).any()  # no airway, no air around the patient


def test_consolidation_touches_the_pleura():
    anatomy = Anatomy.sample(56, infected=True)
    bare = dataclasses.replace(anatomy, vessels=Tubes.through([(-99, 0, 0), (-98, 0, 0)], [1, 1]))
    body = draw(bare, grid_of(anatomy, 48))
    regions, count = ndimage.label(body.infection & (body.hu > -200))
    at_pleura = set(regions[body.lung & ~ndimage.binary_erosion(body.lung, iterations=2)])
    sizes = ndimage.sum_labels(regions > 0, regions, range(1, count + 1))
    assert sizes[[n - 1 for n in at_pleura if n]].sum() > 0.95 * sizes.sum()


def test_effusion_displaces_lung_and_is_not_in_it():
    anatomy = dataclasses.replace(Anatomy.sample(3, infected=True), effusion=(40.0, 0.0), effusion_hu=12.0)
    grid = grid_of(anatomy)
    wet, dry = draw(anatomy, grid), draw(dataclasses.replace(anatomy, effusion=(0.0, 0.0)), grid)
    lost = dry.lung & ~wet.lung
    assert not (wet.lung & ~dry.lung).any()
    assert 0.02 < lost.sum() / dry.lung.sum() < 0.4
    assert (wet.hu[lost] == 12).all() and EFFUSION_HU[0] <= 12 <= EFFUSION_HU[1]
    assert not (wet.infection & lost).any()
    assert (lost.nonzero()[2] < 48).mean() > 0.99  # the right side only, up to the bend of the middle
    assert lost.nonzero()[1].mean() > dry.lung.nonzero()[1].mean()  # it lies at the back


def test_radiograph_is_dark_over_lung_and_covers_the_same_lung(sick):
    film = project(sick)
    assert film.image.dtype == np.uint16 and film.image.shape == film.lung_mask.shape and film.image.max() == 4095
    assert film.image.shape[1] == 96 and film.spacing_mm[0] == pytest.approx(film.spacing_mm[1], rel=0.02)
    assert not (film.infection_mask & ~film.lung_mask).any() and film.infection_mask.any()
    spine = film.image[:, 45:51]
    assert np.median(film.image[film.lung_mask]) < np.median(spine)
    # Seen from the front, the CT's lung and the film's are one silhouette (the film's row 0 is the head).
    rows = np.clip((len(sick.hu) * (1 - (np.arange(len(film.image)) + 0.5) / len(film.image))).astype(int), 0, None)
    silhouette = sick.lung_mask.any(axis=1)[rows]
    assert 2 * (silhouette & film.lung_mask).sum() / (silhouette.sum() + film.lung_mask.sum()) > 0.9


@pytest.mark.parametrize("wrong", [{"size": 31}, {"slices": 0}])
def test_too_small_is_refused(wrong):
    with pytest.raises(UsageError, match="wanted at least 1 and 32"):
        phantom_volume(0, **{**SMALL, **wrong})


def test_radiograph_too_small_is_refused(sick):
    with pytest.raises(UsageError, match="31 columns"):
        project(sick, size=31)


# ---- files ---------------------------------------------------------------------------------------------------------

ARGUMENTS = {"patients": 4, "size": 32, "slices": 3, "seed": 9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "phantoms"
    run(out, **ARGUMENTS)
    return out


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mask_of(path):
    pixels = np.asarray(Image.open(path))
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels > 0


def own_phantom(number: int, label: bool):
    seed = int(np.random.SeedSequence([ARGUMENTS["seed"], number]).generate_state(1)[0])
    return phantom_volume(seed, size=ARGUMENTS["size"], slices=ARGUMENTS["slices"], infected=label)


def test_folder_holds_what_its_indices_name(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["README.txt", "ct", "truth.csv", "xr"]
    for modality, count in (("ct", 12), ("xr", 4)):
        rows = rows_of(folder / modality / "index.csv")
        files = {
            str(p.relative_to(folder / modality)) for p in (folder / modality / "images").rglob("*") if p.is_file()
        }
        assert len(rows) == count and files == {row["file"] for row in rows}
        assert all(
            (folder / modality / row[name]).is_file() for row in rows for name in ("lung_mask", "infection_mask")
        )
    by_patient = {row["patient"]: row["label"] for row in rows_of(folder / "xr" / "index.csv")}
    assert len(by_patient) == 4 and sorted(by_patient.values()) == ["0", "0", "1", "1"]


def test_truth_is_that_of_the_masks(folder):
    truth = {row["file"]: row for row in rows_of(folder / "truth.csv")}
    for modality in ("ct", "xr"):
        for row in rows_of(folder / modality / "index.csv"):
            told = truth.pop(f"{modality}/{row['file']}")
            lung, infection = (mask_of(folder / modality / row[name]) for name in ("lung_mask", "infection_mask"))
            assert told["modality"] == modality and row["label"] == str(int(infection.any()))
            assert (int(told["lung_px"]), int(told["infected_px"])) == (lung.sum(), infection.sum())
            if lung.any():
                assert float(told["infection_percent"]) == 100 * int(infection.sum()) / int(lung.sum())
            else:
                assert told["infection_percent"] == ""
    assert not truth


def test_dicom_series_gives_the_volume_back(folder):
    sick = {row["patient"] for row in rows_of(folder / "xr" / "index.csv") if row["label"] == "1"}
    signs, instances = set(), set()
    for number in range(1, 5):
        phantom = own_phantom(number, f"PHANTOM-9-{number:03d}" in sick)
        rows = [row for row in rows_of(folder / "ct" / "index.csv") if row["patient"] == f"PHANTOM-9-{number:03d}"]
        assert [row["slice_index"] for row in rows] == ["0", "1", "2"]
        heights = []
        for row, hu in zip(rows, phantom.hu, strict=True):
            ds = pydicom.dcmread(folder / "ct" / row["file"])
            values = ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
            np.testing.assert_array_equal(values, hu)
            assert ds.RescaleIntercept == -1024 and ds.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
            assert (ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID) == (
                row["patient"],
                row["study"],
                row["series"],
            )
            np.testing.assert_allclose([float(mm) for mm in ds.PixelSpacing], phantom.spacing_mm[1:], atol=1e-6)
            heights.append(float(ds.ImagePositionPatient[2]))
            signs.add(ds.PixelRepresentation)
            instances.add(ds.SOPInstanceUID)
        assert heights == sorted(set(heights))
    assert signs == {0, 1} and len(instances) == 12


def test_radiographs_come_in_every_form(folder):
    forms = set()
    for row in rows_of(folder / "xr" / "index.csv"):
        number = int(row["patient"][-3:])
        image = project(own_phantom(number, row["label"] == "1")).image
        path = folder / "xr" / row["file"]
        if path.suffix == ".png":
            forms.add("png")
            np.testing.assert_array_equal(np.asarray(Image.open(path)), image >> 4)
            continue
        ds = pydicom.dcmread(path)
        forms.add(ds.PhotometricInterpretation)
        assert (ds.Modality, ds.BitsStored) == ("DX", 12)
        stored = ds.pixel_array
        np.testing.assert_array_equal(4095 - stored if ds.PhotometricInterpretation == "MONOCHROME1" else stored, image)
    assert forms == {"png", "MONOCHROME1", "MONOCHROME2"}


def test_same_numbers_same_bytes(folder, tmp_path):
    run(tmp_path / "again", **ARGUMENTS)
    contents = [
        {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}
        for top in (folder, tmp_path / "again")
    ]
    assert contents[0] == contents[1] and len(contents[0]) == 2 + 2 + 3 * 16


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="new or empty folder"):
        run(tmp_path, **ARGUMENTS)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"size": 8}, {"slices": 0}, {"seed": -1}])
def test_senseless_numbers_are_refused(wrong, tmp_path):
    with pytest.raises(UsageError, match="wanted at least 1 patient"):
        run(tmp_path / "out", **{**ARGUMENTS, **wrong})
    assert not (tmp_path / "out").exists()
