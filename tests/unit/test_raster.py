"""PNG, JPEG and TIFF by content; grey, one way up, no surprise."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import tifffile

from covidpipe.config import Limits
from covidpipe.errors import BadInput
from covidpipe.io.raster import grey, invert
from covidpipe.io.read import open_file, read_image, read_mask, settle, sniff


def ramp(rows: int = 80, columns: int = 96, kind: type = np.uint8) -> np.ndarray:
    top = np.iinfo(kind).max
    return np.linspace(0, top, rows * columns).astype(kind).reshape(rows, columns)


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_the_content_decides_not_the_name(tmp_path, ending):
    right = tmp_path / f"a.{ending}"
    PIL.Image.fromarray(ramp()).save(right)
    renamed = right.rename(tmp_path / "b.dcm")
    assert sniff(renamed) == {"png": "png", "tif": "tiff", "jpg": "jpeg"}[ending]
    image = read_image(renamed, modality="ct")
    assert image.intensity == "windowed_8bit"
    assert image.array.dtype == np.uint8
    assert np.abs(image.array.astype(int) - ramp()).max() <= (4 if ending == "jpg" else 0)


def test_equal_channels_are_grey_and_alpha_is_dropped(tmp_path):
    layers = np.dstack([ramp()] * 3 + [np.full((80, 96), 7, np.uint8)])
    PIL.Image.fromarray(layers).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", modality="xr").array, ramp())


def test_a_photograph_is_refused():
    colors = np.dstack([ramp(), ramp()[::-1], ramp()])
    with pytest.raises(BadInput, match=r"color picture.*grey CT or X-ray") as refusal:
        grey(colors)
    assert refusal.value.reason == "color_image"


def test_chroma_noise_of_a_jpeg_is_no_color():
    noise = np.random.default_rng(0).integers(-6, 7, (80, 96, 3))
    colors = np.clip(ramp()[..., None] + noise, 0, 255).astype(np.uint8)
    assert np.abs(grey(colors).astype(int) - ramp()).max() <= 6


def test_sixteen_bits_survive(tmp_path):
    PIL.Image.fromarray(ramp(kind=np.uint16)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", modality="xr")
    assert image.array.dtype == np.float32
    assert np.array_equal(image.array, ramp(kind=np.uint16))


def test_pages_of_a_tiff_are_frames(tmp_path):
    pages = np.stack([ramp(), ramp()[::-1]])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    assert open_file(tmp_path / "a.tif", Limits()).frames == 2
    assert np.array_equal(read_image(tmp_path / "a.tif", 1, modality="xr").array, pages[1])


def test_white_is_zero_is_inverted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp(), photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "a.tif", modality="xr").array, 255 - ramp())
    assert invert(np.array([-3, 5], np.int16)).tolist() == [5, -3]


def test_signed_tiff_in_hounsfield_units(tmp_path):
    hu = np.linspace(-3000, 800, 80 * 96).astype(np.int16).reshape(80, 96)
    tifffile.imwrite(tmp_path / "a.tif", hu)
    for modality in ("ct", None):
        image = read_image(tmp_path / "a.tif", modality=modality)
        assert (image.modality, image.intensity, int(image.array.min())) == ("ct", "hounsfield", -1024)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((80, 80), np.uint8), "blank"),
        (ramp(40, 400), "too_small"),
        ((ramp() > 99).astype(np.uint8) * 255, "not_an_image"),
        (ramp(kind=np.uint16).astype(np.float32), "not_hounsfield"),
    ],
)
def test_what_cannot_be_quantified_is_refused_with_a_reason(array, reason, tmp_path):
    PIL.Image.fromarray(ramp()).save(tmp_path / "a.png")
    facts = open_file(tmp_path / "a.png", Limits()).facts(0)
    with pytest.raises(BadInput) as refusal:
        settle(array, facts, "ct")
    assert refusal.value.reason == reason


def test_a_frame_over_the_limit_is_refused_before_decoding(tmp_path):
    PIL.Image.fromarray(ramp()).save(tmp_path / "a.png")
    with pytest.raises(BadInput, match="max_pixels") as refusal:
        open_file(tmp_path / "a.png", Limits(max_pixels=100)).check()
    assert refusal.value.reason == "too_large"


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_half_a_file_is_unreadable(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput) as refusal:
        read_image(path, modality="xr")
    assert refusal.value.reason == "unreadable"


def test_a_mask_is_true_above_zero(tmp_path):
    PIL.Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[False, True, True]]


def test_a_mask_in_a_jpeg_has_no_fringe(tmp_path):
    drawn = np.zeros((96, 96), np.uint8)
    drawn[20:60, 30:70] = 255
    PIL.Image.fromarray(drawn).save(tmp_path / "m.jpg", quality=60)
    stored = np.asarray(PIL.Image.open(tmp_path / "m.jpg"))
    assert ((stored > 0) != (drawn > 0)).sum() > 50  # what a threshold of 0 would take for infected
    assert np.array_equal(read_mask(tmp_path / "m.jpg"), drawn > 0)
