"""The fast decoders give what pydicom's give; what they do not know is left to pydicom."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from covidpipe.config import Limits
from covidpipe.errors import BadInput
from covidpipe.io import dicom
from covidpipe.io.dicom import FAST, Dicom
from tests.benchmarks.encoded import ENCODERS, JPEG, stored_slice, write_dicom

KINDS = {"8 bits": ("u1", 8), "12 bits": ("u2", 12), "16 bits": ("u2", 16), "signed": ("i2", 16), "few": ("i2", 12)}


def encoded(tmp_path, syntax, kind):
    dtype, bits = KINDS[kind]
    pixels = stored_slice(96, dtype, bits)
    if kind == "few":  # 12 bits in 16, as an encoder sees them: the upper four are not stored
        pixels = (pixels.view("u2") & 0x0FFF).view("i2")
    return write_dicom(tmp_path / "a.dcm", pixels, syntax, bits)


@pytest.mark.parametrize(
    ("syntax", "kind"), [(f"{JPEG}.50", "8 bits"), *((s, k) for s in FAST if s != f"{JPEG}.50" for k in KINDS)]
)
def test_values_are_those_of_pydicom(tmp_path, syntax, kind):
    path = encoded(tmp_path, syntax, kind)
    opened = Dicom(path, Limits())
    found = opened._decode(0)
    wanted = pixel_array(pydicom.dcmread(path), index=0)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
    assert (opened._decode_fast(0) is None) == (kind == "few")


@pytest.mark.parametrize("syntax", FAST)
def test_a_picture_that_is_cut_off_is_left_to_pydicom(tmp_path, syntax):
    path = encoded(tmp_path, syntax, "8 bits")
    opened = Dicom(path, Limits())
    code = pydicom.encaps.get_frame(opened.header.PixelData, 0, number_of_frames=1)
    opened.header.PixelData = pydicom.encaps.encapsulate([code[: len(code) // 2]])
    assert opened._decode_fast(0) is None


def test_a_header_that_contradicts_the_picture_is_left_to_pydicom(tmp_path):
    path = encoded(tmp_path, f"{JPEG}.80", "12 bits")
    for name, value in (("Rows", 95), ("BitsAllocated", 8), ("SamplesPerPixel", 3), ("PixelRepresentation", 2)):
        opened = Dicom(path, Limits())
        setattr(opened.header, name, value)
        assert opened._decode_fast(0) is None, name
    assert Dicom(path, Limits())._decode_fast(0) is not None


def test_a_frame_is_found_among_several(tmp_path):
    pixels = [stored_slice(96, "u2", 12, seed) for seed in range(3)]
    path = write_dicom(tmp_path / "a.dcm", pixels[0], f"{JPEG}.70", 12)
    header = pydicom.dcmread(path)
    header.NumberOfFrames = 3
    header.PixelData = pydicom.encaps.encapsulate([ENCODERS[f"{JPEG}.70"](frame) for frame in pixels])
    header.save_as(path)
    opened = Dicom(path, Limits())
    for number, frame in enumerate(pixels):
        np.testing.assert_array_equal(opened._decode_fast(number), frame)


@pytest.mark.real_data
def test_real_files_of_every_syntax_are_what_pydicom_reads(real_data):
    compared = set()
    for path in sorted((real_data / "dicom-odd").rglob("*.dcm")):
        try:
            opened = Dicom(path, Limits())
            found = opened._decode_fast(0)
        except BadInput:
            continue
        if found is not None:
            compared.add(str(opened.syntax))
            wanted = pixel_array(opened.header, index=0)
            assert found.dtype == wanted.dtype, path.name
            np.testing.assert_array_equal(found, wanted)
    assert compared == set(dicom.FAST)
