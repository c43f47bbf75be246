"""One slice in every transfer syntax that imagecodecs can write: for tests of decoders, and to time them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

Encoder = Callable[[np.ndarray], bytes]

JPEG = "1.2.840.10008.1.2.4"
ENCODERS: dict[str, Encoder] = {
    f"{JPEG}.50": lambda pixels: imagecodecs.jpeg8_encode(pixels, level=90),
    f"{JPEG}.57": imagecodecs.ljpeg_encode,
    f"{JPEG}.70": imagecodecs.ljpeg_encode,
    f"{JPEG}.80": imagecodecs.jpegls_encode,
    f"{JPEG}.81": lambda pixels: imagecodecs.jpegls_encode(pixels, level=2),
    f"{JPEG}.90": lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True),
}


def stored_slice(side: int, kind: str, bits: int, seed: int = 0) -> np.ndarray:
    """Smooth shades with noise over the range of `bits` bits, of a NumPy `kind`; signed values on both sides of 0."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(size=(side, side)), (0, 0), side / 12) * side / 12  # about 0.3
    shades = np.clip((smooth + rng.normal(0, 0.001, smooth.shape)) * 0.8 + 0.5, 0, 1) * ((1 << bits) - 1)
    low = -(1 << (bits - 1)) if np.dtype(kind).kind == "i" else 0
    return (np.rint(shades) + low).astype(kind)


def write_dicom(path: Path, pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, bits: int | None = None) -> Path:
    """A CT slice with an intercept of -1024 for unsigned values, its bits encoded as `syntax` wants them."""
    allocated, signed = 8 * pixels.dtype.itemsize, pixels.dtype.kind == "i"
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.Modality, dataset.PatientID, dataset.BodyPartExamined = "CT", "P1", "CHEST"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    dataset.PixelSpacing, dataset.RescaleSlope, dataset.RescaleIntercept = [0.7, 0.7], 1, 0 if signed else -1024
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits or allocated, (bits or allocated) - 1
    dataset.PixelRepresentation = int(signed)
    unsigned = pixels.view(f"u{pixels.dtype.itemsize}")
    encode = ENCODERS.get(syntax)
    dataset.PixelData = encapsulate([encode(unsigned)]) if encode else pixels.tobytes()
    dataset["PixelData"].VR = "OB" if encode else "OW"
    dataset["PixelData"].is_undefined_length = encode is not None
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path
