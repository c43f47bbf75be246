"""Left stays left: every way in which a file may store one and the same picture is read as one picture."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from test_dicom import dicom, film

from covidpipe.config import Limits
from covidpipe.io import orientation
from covidpipe.io.read import open_file, read_image

LETTERS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
AXIAL = [f"{a}\\{b}" for a, b in itertools.permutations("LRAP", 2) if orientation.AXES[a] != orientation.AXES[b]]
FRONTAL = [f"{a}\\{b}" for a, b in itertools.permutations("LRHF", 2) if orientation.AXES[a] != orientation.AXES[b]]


def picture() -> np.ndarray:
    """72 rows and 80 columns of a CT; every pixel differs from its neighbours."""
    return np.random.default_rng(0).integers(0, 2048, (72, 80)).astype(np.uint16)


def cosines(lies: str) -> list[float]:
    return [*LETTERS[lies[0]], *LETTERS[lies[2]]]


@pytest.mark.parametrize("lies", AXIAL + FRONTAL)
def test_to_standard_is_undone_by_to_stored(lies):
    standard = picture()
    stored = orientation.to_stored(standard, lies)
    assert np.array_equal(orientation.to_standard(stored, lies), standard)
    assert orientation.is_turned(lies) == (stored.shape != standard.shape)


def test_mirroring_and_turning_by_hand():
    standard = np.array([["right front", "left front"], ["right back", "left back"]])
    seen_from_the_head = [["left front", "right front"], ["left back", "right back"]]
    prone = [["left back", "right back"], ["left front", "right front"]]
    on_the_side = [
        ["right front", "right back"],
        ["left front", "left back"],
    ]  # columns run to the back, rows to the left
    for stored, lies in ((seen_from_the_head, "R\\P"), (prone, "R\\A"), (on_the_side, "P\\L")):
        assert np.array_equal(orientation.to_standard(np.array(stored), lies), standard)


# In DICOM the cosines are the patient's own, so the same header holds for head first and feet first.
@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP", "FFP", "HFDR", None])
@pytest.mark.parametrize("lies", AXIAL)
def test_a_slice_is_the_same_however_it_is_stored(tmp_path, lies, position):
    stored = orientation.to_stored(picture(), lies)
    spacing = [0.8, 0.7] if orientation.is_turned(lies) else [0.7, 0.8]
    header = {"ImageOrientationPatient": cosines(lies), "PatientPosition": position, "PixelSpacing": spacing}
    path = dicom(tmp_path / "a", np.ascontiguousarray(stored), **header)
    image, facts = read_image(path), open_file(path, Limits()).facts(0)
    assert np.array_equal(image.array, picture().astype(int) - 1024)
    assert (facts.rows, facts.columns, image.spacing_mm, facts.orientation) == (72, 80, (0.7, 0.8), lies)


def test_slightly_turned_patients_and_tilted_gantries_lie_as_their_nearest_axes():
    turned = np.deg2rad(20)
    assert orientation.of_cosines([np.cos(turned), np.sin(turned), 0, -np.sin(turned), np.cos(turned), 0]) == "L\\P"
    assert orientation.of_cosines([0.72, 0.69, 0, -0.69, 0.72, 0]) == "L\\P"  # each is near to both axes
    assert orientation.of_cosines([-1, 0, 0, 0, 0.966, -0.259]) == "R\\P"
    assert orientation.of_cosines([1, 0, 0, 1, 0, 0]) is None
    assert orientation.of_cosines([0, 0, 0, 0, 0, 0]) is None


@pytest.mark.parametrize("lies", FRONTAL)
def test_a_film_is_hung_by_its_patient_orientation(tmp_path, lies):
    stored = np.ascontiguousarray(orientation.to_stored(picture(), lies))
    header = {"PatientOrientation": lies.split("\\"), "ImageOrientationPatient": None, "BitsStored": 12, "HighBit": 11}
    path = film(tmp_path / "a", stored, **header)
    assert np.array_equal(read_image(path).array, picture())
    assert open_file(path, Limits()).facts(0).warnings == ()


def test_a_film_from_the_side_stays_and_is_told(tmp_path):
    header = {"PatientOrientation": ["A", "F"], "ImageOrientationPatient": None, "BitsStored": 12, "HighBit": 11}
    path = film(tmp_path / "a", picture(), **header)
    assert np.array_equal(read_image(path).array, picture())
    assert open_file(path, Limits()).facts(0).warnings == ("not_frontal",)


def test_what_is_not_stated_is_not_guessed(tmp_path):
    for words in (None, "", ["L", "X"], ["L", "R"]):
        path = dicom(tmp_path / "a", picture(), ImageOrientationPatient=None, PatientOrientation=words)
        facts = open_file(path, Limits()).facts(0)
        assert facts.orientation is None
        assert np.array_equal(read_image(path).array, picture().astype(int) - 1024)
    words = ["R", "P"]  # the second best source, where the cosines are absent
    path = dicom(tmp_path / "a", picture(), ImageOrientationPatient=None, PatientOrientation=words)
    assert np.array_equal(read_image(path).array, picture()[:, ::-1].astype(int) - 1024)


def test_a_volume_without_orientation_codes_does_not_say_how_it_lies(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 100, (80, 72, 3)).astype(np.int16)
    for code, wanted in ((0, None), (1, "RAS")):
        image = nib.Nifti1Image(hu, np.eye(4))
        image.set_qform(np.eye(4), code=code)
        image.set_sform(np.eye(4), code=code)
        nib.save(image, tmp_path / "ct.nii.gz")
        opened = open_file(tmp_path / "ct.nii.gz", Limits())
        opened.check()
        assert opened.facts(0).orientation == wanted


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        ({"StudyDate": "20200322"}, "2020-03-22"),
        ({"StudyDate": "", "AcquisitionDate": "20200323"}, "2020-03-23"),
        ({"StudyDate": "2020.03.22"}, "2020-03-22"),
        ({"StudyDate": "19000101"}, "None"),  # what tools write that remove dates
        ({"StudyDate": "00000000"}, "None"),
        ({}, "None"),
    ],
)
def test_the_day_of_a_study(tmp_path, stated, wanted):
    path = dicom(tmp_path / "a", **stated)
    assert str(open_file(path, Limits()).facts(0).study_date) == wanted
