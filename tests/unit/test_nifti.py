"""NIfTI volumes, whichever way they were stored."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from covidpipe.config import Limits
from covidpipe.errors import BadInput
from covidpipe.io.read import open_file, read_image

RIGHT, LEFT, ANTERIOR, POSTERIOR, FOOT, HEAD = 100, 200, 300, 400, 500, 600


def volume(size: int = 80, slices: int = 6) -> np.ndarray:
    """A body in air (x to the right, y to the front, z to the head), with a mark on each side."""
    hu = np.full((size, size, slices), -1000, np.int16)
    hu[20:60, 20:60] = np.random.default_rng(0).integers(-50, 60, (40, 40, slices))
    hu[-1, size // 2], hu[0, size // 2] = RIGHT, LEFT
    hu[size // 2, -1], hu[size // 2, 0] = ANTERIOR, POSTERIOR
    hu[30, 30, 0], hu[30, 30, -1] = FOOT, HEAD
    return hu


def saved(path: Path, hu: np.ndarray, codes: str = "RAS", zooms=(0.7, 0.8, 2.5)) -> Path:
    """Store `hu` (RAS) with its axes in another order and direction."""
    image = nib.Nifti1Image(hu, np.diag([*zooms, 1.0]))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes))
    )
    nib.save(image.as_reoriented(turn), path)
    return path


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PSR", "SAL"])
def test_slices_look_as_radiologists_see_them(tmp_path, codes):
    path = saved(tmp_path / "ct.nii.gz", volume(), codes)
    image = read_image(path, 0)
    assert (image.modality, image.intensity) == ("ct", "hounsfield")
    assert image.array.dtype == np.int16
    assert (image.array[40, 0], image.array[40, -1]) == (RIGHT, LEFT) or (
        image.array[39, 0],
        image.array[39, -1],
    ) == (RIGHT, LEFT)
    assert ANTERIOR in image.array[0]
    assert POSTERIOR in image.array[-1]
    assert FOOT in image.array
    assert HEAD in read_image(path, 5).array
    assert image.spacing_mm == pytest.approx((0.8, 0.7))
    assert open_file(path, Limits()).frames == 6


def test_scaled_values_are_scaled(tmp_path):
    image = nib.Nifti1Image((volume() + 1024).astype(np.uint16), np.eye(4))
    image.header.set_slope_inter(1, -1024)
    nib.save(image, tmp_path / "ct.nii")
    assert read_image(tmp_path / "ct.nii", 3).array.min() == -1000


def test_a_slice_of_air_in_a_ct_is_a_ct(tmp_path):
    hu = volume()
    hu[..., 2] = np.random.default_rng(0).integers(-1020, -950, hu.shape[:2])
    assert read_image(saved(tmp_path / "ct.nii", hu), 2).intensity == "hounsfield"


@pytest.mark.parametrize(
    ("voxels", "reason"),
    [
        ((volume() > 0).astype(np.uint8) * 3, "not_an_image"),
        (np.zeros((80, 80, 4, 2), np.int16), "unsupported_format"),
        (np.zeros((80, 80, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "color_image"),
    ],
)
def test_what_is_no_ct_is_refused(tmp_path, voxels, reason):
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(BadInput) as refusal:
        read_image(tmp_path / "a.nii.gz")
    assert refusal.value.reason == reason


def test_half_a_volume_is_unreadable(tmp_path):
    for name in ("ct.nii", "ct.nii.gz"):
        path = saved(tmp_path / name, volume())
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(BadInput) as refusal:
            read_image(path)
        assert refusal.value.reason == "unreadable"


@pytest.mark.parametrize("shape", [(0, 80, 6), (80, 80, 0), (80, 0)])
def test_a_volume_without_a_voxel_is_unreadable(tmp_path, shape):
    """Found by `make fuzz`: its least value was asked for."""
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(BadInput, match="a side of 0") as refusal:
        read_image(tmp_path / "a.nii")
    assert refusal.value.reason == "unreadable"


@pytest.mark.real_data
def test_real_volumes(real_data: Path):
    folder = real_data / "ct-lungs/totalsegmentator_example"
    image = read_image(folder / "example_ct_sm.nii.gz", 10)
    assert image.array.shape == (101, 122)
    assert image.spacing_mm == pytest.approx((3.0, 3.0))
    with pytest.raises(BadInput, match="label map"):
        read_image(folder / "example_seg.nii.gz")
