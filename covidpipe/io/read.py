"""The one place where a file's type is decided, and where its values get their meaning."""

from __future__ import annotations

import functools
import gzip
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.config import Limits
from covidpipe.errors import BadInput
from covidpipe.io.files import file_sha256
from covidpipe.io.image import AIR, Facts, Image, Opened
from covidpipe.io.orientation import to_standard
from covidpipe.sealed import place

SMALLEST = 64  # rows and columns; less is a thumbnail

# No body has only values on one side of this: lung and the air around it lie below, soft tissue above.
HU_INSIDE = -200

# Only Hounsfield units have the air around a patient so far below zero.
AIR_AT_MOST = -900
HU_CONFIDENCE = 0.99

# Share of pixels at the two ends of the range: 0.6 at most in 1,800 real slices and films, 0.98 at least in masks with
# smoothed edges.
MASK_SHARE = 0.98


def sniff(path: Path) -> str | None:
    """Name the format of a file from its first bytes: dicom, nifti, png, jpeg, tiff, or None.

    Raises
    ------
    BadInput
        ``unreadable``: the file is missing, empty, not a regular file, or may not be read.
    """
    if not path.is_file():  # opening a pipe would wait forever
        what = "not a regular file" if path.exists() else "missing"
        raise BadInput("unreadable", f"The file is {what}; an image file was expected: check the path or the link.")
    try:
        with path.open("rb") as handle:
            head = handle.read(400)
        if not head:
            raise BadInput("unreadable", "The file is empty; an image was expected: copy or export it again.")
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as inside:
                return "nifti" if _is_nifti(inside.read(400)) else None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise BadInput(
            "unreadable", "A gzip file that cannot be unpacked; a whole one was expected: copy it again."
        ) from None
    except OSError as error:
        raise BadInput(
            "unreadable", f"The file cannot be read ({error.strerror}): give this user permission to read it."
        ) from None
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if _is_nifti(head):
        return "nifti"
    return "dicom" if _is_bare_dicom(head) else None


def _is_nifti(head: bytes) -> bool:
    return (head[344:348] == b"n+1\0" and 348 in struct.unpack("<I", head[:4]) + struct.unpack(">I", head[:4])) or (
        head[4:8] == b"n+2\0"
    )


def _is_bare_dicom(head: bytes) -> bool:
    """True for a DICOM without preamble: it starts with an element of the groups that come first."""
    if len(head) < 8:
        return False
    return any(
        group in (0x0002, 0x0008) and element <= 0x0070 and (head[4:6].isupper() or length < 1024)
        for group, element, length in (struct.unpack("<HHI", head[:8]), struct.unpack(">HHI", head[:8]))
    )


def open_file(path: Path, limits: Limits) -> Opened:
    """Open an image file of any known format and read its header.

    Raises
    ------
    BadInput
        ``unreadable`` or ``unsupported_format``.
    """
    kind = sniff(path)
    if kind is None:
        raise BadInput(
            "unsupported_format",
            "The content is none of the known image formats; DICOM, NIfTI, PNG, JPEG or TIFF was expected: "
            "convert the file, or leave it out if it is no image.",
        )
    # Imported here: reading PNGs does not wait for pydicom and nibabel.
    if kind == "dicom":
        from covidpipe.io.dicom import Dicom

        return Dicom(path, limits)
    if kind == "nifti":
        from covidpipe.io.nifti import Nifti

        return Nifti(path, limits)
    from covidpipe.io.raster import Raster

    return Raster(path, kind, limits)


@dataclass(frozen=True)
class Settled:
    """An image with the story of its modality."""

    image: Image
    modality_source: str
    modality_confidence: float | None = None
    warnings: tuple[str, ...] = ()


def settle(array: np.ndarray, facts: Facts, modality: str | None = None, intensity: str | None = None) -> Settled:
    """Decide what an image is and what its values mean; refuse what cannot be quantified.

    Parameters
    ----------
    array : ndarray, shape (rows, columns)
        As a reader gives it: photometric interpretation and rescale applied.
    facts : Facts
    modality, intensity : str, optional
        What the user or the dataset declares. A header's modality comes before it, a guess after it.

    Raises
    ------
    BadInput
        ``too_small``, ``blank``, ``not_an_image`` (a mask) or ``not_hounsfield``.
    """
    rows, columns = array.shape
    if min(rows, columns) < SMALLEST:
        raise BadInput(
            "too_small",
            f"An image of {rows} x {columns} pixels; at least {SMALLEST} x {SMALLEST} were expected: "
            "use the original, not a thumbnail.",
        )
    low, high = float(array.min()), float(array.max())
    if low == high or not np.isfinite((low, high)).all():
        raise BadInput(
            "blank",
            f"Every pixel has the value {low:g}; a picture was expected: leave the image out, or export it again."
            if low == high
            else "Pixels that are not numbers; a picture was expected: export the image again.",
        )
    if (np.count_nonzero(array == low) + np.count_nonzero(array == high)) / array.size > MASK_SHARE:
        raise BadInput(
            "not_an_image",
            "Hardly more than two values, as in a mask; a picture with grey levels was expected: leave the file out.",
        )
    confidence: float | None = None
    warnings: tuple[str, ...] = ()
    if facts.modality is not None and facts.modality_confidence is None:
        modality, source = facts.modality, "header"
    elif modality is not None:
        source = "declared"
    else:
        source = "guessed"
        if facts.modality is not None:
            modality, confidence = facts.modality, facts.modality_confidence
        elif low <= AIR_AT_MOST and high > HU_INSIDE:
            modality, confidence = "ct", HU_CONFIDENCE
        else:
            from covidpipe.modality import guess_modality

            modality, confidence = guess_modality(array)
        assert confidence is not None
        warnings = ("modality_guessed",) if confidence >= 0.9 else ("modality_guessed", "modality_uncertain")
    if modality == "xr":
        intensity = "radiograph"
    else:
        # A slice of a volume in Hounsfield units may show air alone.
        whole = facts.modality_confidence is not None and intensity is None
        intensity = "hounsfield" if whole else _ct_intensity(array, low, high, intensity or facts.intensity)
        if intensity == "hounsfield" and low < AIR:
            array = np.maximum(array, np.asarray(AIR, array.dtype))
    return Settled(Image(array, facts.spacing_mm, modality, intensity), source, confidence, warnings)


def _ct_intensity(array: np.ndarray, low: float, high: float, stated: str | None) -> str:
    if stated is None and array.dtype == np.uint8:
        return "windowed_8bit"
    if stated == "windowed_8bit":
        return stated
    if low >= HU_INSIDE or high <= HU_INSIDE:
        raise BadInput(
            "not_hounsfield",
            f"Values {low:g}…{high:g}, but CT needs Hounsfield units (about -1024…3000): re-export with a correct "
            "RescaleSlope and RescaleIntercept, or declare `intensity: windowed_8bit`.",
        )
    return "hounsfield"


def read_image(
    path: Path,
    frame: int = 0,
    *,
    modality: str | None = None,
    intensity: str | None = None,
    limits: Limits | None = None,
) -> Image:
    """Read one image: the frame of a file, in Hounsfield units or grey levels, bright is dense.

    Parameters
    ----------
    path : Path
    frame : int
        Frame of a multi-frame file, or axial slice of a volume, from 0.
    modality, intensity : str, optional
        What is known already, such as from the image table.
    limits : Limits, optional

    Raises
    ------
    BadInput
        The file or the frame cannot be used; its ``reason`` says why.
    """
    opened = _opened(path, limits or Limits())
    if not 0 <= frame < opened.frames:
        raise BadInput(
            "unreadable",
            f"Frame {frame} was asked for, but the file has {opened.frames}: ingest again if it changed.",
        )
    return settle(opened.array(frame, intensity), opened.facts(frame), modality, intensity).image


def read_again(root: Path, row: Mapping[str, Any]) -> Image:
    """The image that was ingested.

    Parameters
    ----------
    root : Path
        Folder that the table's paths are relative to.
    row : mapping
        Its row of the image table.

    Raises
    ------
    BadInput
        Its file is gone, or is another one now.
    """
    path = place(root, row["path"])
    try:
        stat = path.stat()
        same = _sha256_once(path, stat.st_mtime_ns, stat.st_size) == row["source_sha256"]
    except OSError as error:
        raise BadInput(
            "unreadable", f"The file can no longer be read ({error.strerror}): restore it, or ingest again."
        ) from None
    if not same:
        raise BadInput("unreadable", "The file has changed since ingest: restore it, or ingest again.")
    return read_image(path, row["frame"], modality=row["modality"], intensity=row["intensity"])


@functools.lru_cache(maxsize=2)  # a volume with many slices is hashed once
def _sha256_once(path: Path, modified: int, size: int) -> str:
    return file_sha256(path)


def read_mask(path: Path, frame: int = 0, orientation: str | None = None) -> np.ndarray:
    """Read a mask drawn on an image: True where the value is above 0, shape (rows, columns).

    In a JPEG it must be above 127: compression leaves a fringe of small values around every edge.

    Parameters
    ----------
    path : Path
    frame : int
    orientation : str, optional
        How the image's file lies, as in the image table: a mask that does not say how it lies was drawn on that file's
        pixels, and is turned with them.

    Raises
    ------
    BadInput
        The file cannot be read.
    """
    opened = _opened(path, Limits())
    facts = opened.facts(frame)
    mask = opened.array(frame, None) > (127 if facts.format == "jpeg" else 0)
    drawn_on_pixels = facts.orientation is None and orientation is not None and "\\" in orientation
    return np.ascontiguousarray(to_standard(mask, orientation)) if drawn_on_pixels and orientation else mask


def _opened(path: Path, limits: Limits) -> Opened:
    try:
        stat = path.stat()
        return _open_once(path, limits, stat.st_mtime_ns, stat.st_size)
    except FileNotFoundError:
        raise BadInput("unreadable", "The file is missing: put it back where it was, or ingest again.") from None


# Reading a volume slice by slice opens it once. Two: an image and its mask.
@functools.lru_cache(maxsize=2)
def _open_once(path: Path, limits: Limits, modified: int, size: int) -> Opened:
    opened = open_file(path, limits)
    opened.check()
    return opened
