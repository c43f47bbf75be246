"""NIfTI: each axial slice of a volume is an image, displayed as radiologists do."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from covidpipe.config import Limits
from covidpipe.errors import BadInput
from covidpipe.io.image import Facts
from covidpipe.io.raster import check_size

# What it mends in a header, and how, is of no use to a study, and quotes the header.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)

LABELS_AT_MOST = 128  # distinct values of a label map
HU_CONFIDENCE = 0.99  # that a volume is a CT if its values lie on both sides of lung tissue


class Nifti:
    """An opened NIfTI volume; its voxels are read once and kept as stored, which for CT is 2 bytes each.

    Slices are counted from the feet upwards; row 0 is anterior and column 0 the patient's right.
    """

    def __init__(self, path: Path, limits: Limits):
        self.limits = limits
        # nibabel raises whatever a damaged file provokes: OSError, EOFError, HeaderDataError, zlib.error ...
        try:
            with np.errstate(all="ignore"):  # of an affine that is none
                volume: Any = nib.load(path)  # its declared type knows no voxels
                shape = volume.shape
                orientation = nib.orientations.io_orientation(volume.affine)
            stated = any(int(volume.header[code]) > 0 for code in ("qform_code", "sform_code"))
            zooms = tuple(float(z) for z in volume.header.get_zooms()[:3])
        except Exception as error:
            raise _unreadable(error) from error
        self.volume = volume
        self.shape = shape
        self.voxels: np.ndarray | None = None
        self.low, self.high = math.nan, math.nan
        if len(shape) not in (2, 3) and not (len(shape) > 3 and set(shape[3:]) == {1}):
            self.frames = 1
            return
        # An affine without a direction for each axis: the axes are taken as they are stored.
        whole = bool(np.isfinite(orientation).all())
        self.orientation = orientation if whole else np.array([[0, 1], [1, 1], [2, 1]])
        # Without a code, the affine is nibabel's guess.
        self.axes = "".join(nib.orientations.ornt2axcodes(orientation)) if stated and whole else None
        axes = [int(np.flatnonzero(self.orientation[:, 0] == axis)[0]) for axis in range(3)]
        sizes = (*shape[:3], 1)[:3]
        zooms = (*zooms, 1.0)[:3]
        self.columns, self.rows, self.frames = (sizes[axis] for axis in axes)
        column_mm, row_mm, self.slice_mm = (abs(zooms[axis]) for axis in axes)
        self.spacing = (row_mm, column_mm) if min(row_mm, column_mm) > 0 else None

    def check(self) -> None:
        if len(self.shape) not in (2, 3) and not (len(self.shape) > 3 and set(self.shape[3:]) == {1}):
            raise BadInput(
                "unsupported_format",
                f"A NIfTI of {len(self.shape)} dimensions; a volume of 3 was expected: split it into volumes.",
            )
        if 0 in self.shape:
            raise BadInput(
                "unreadable",
                "A NIfTI without a voxel: a side of 0; a whole file was expected: copy or export it again.",
            )
        if self.volume.get_data_dtype().fields is not None:
            raise BadInput("color_image", "A NIfTI of colors; one value a voxel was expected: export the CT itself.")
        if self.volume.get_data_dtype().kind == "c":
            raise BadInput(
                "unsupported_format", "A NIfTI of complex numbers; a CT was expected: leave it out, or export the CT."
            )
        check_size(self.frames, self.rows * self.columns, self.limits)
        size = math.prod(self.shape) * self.volume.get_data_dtype().itemsize
        if size > self.limits.max_memory_gib * (1 << 30):
            raise BadInput(
                "too_large",
                f"A volume of {size / (1 << 30):,.1f} GiB; at most {self.limits.max_memory_gib:g} are allowed: raise "
                "`limits.max_memory_gib` if this is meant.",
            )
        try:
            proxy = self.volume.dataobj
            stored = proxy.get_unscaled().reshape((*self.shape, 1)[:3])
            self.slope, self.intercept = float(proxy.slope), float(proxy.inter)
        except Exception as error:  # see above
            raise _unreadable(error) from error
        self.voxels = nib.orientations.apply_orientation(stored, self.orientation)
        ends = sorted(float(end) * self.slope + self.intercept for end in (np.nanmin(stored), np.nanmax(stored)))
        self.low, self.high = ends
        if _is_label_map(stored):
            raise BadInput(
                "not_an_image",
                "A label map: few small whole numbers in uniform regions; an image was expected: leave it out.",
            )

    def facts(self, frame: int) -> Facts:
        if self.voxels is None:
            return Facts(format="nifti")
        hounsfield = self.low < -200 < self.high
        return Facts(
            format="nifti",
            rows=self.rows,
            columns=self.columns,
            modality="ct" if hounsfield else None,
            modality_confidence=HU_CONFIDENCE if hounsfield else None,
            intensity="hounsfield" if hounsfield else None,
            spacing_mm=self.spacing,
            position_mm=frame * self.slice_mm if self.slice_mm > 0 and self.frames > 1 else None,
            instance=frame,
            orientation=self.axes,
        )

    def array(self, frame: int, intensity: str | None) -> np.ndarray:
        assert self.voxels is not None, "check() comes first"
        # Voxels run to the patient's right, anterior and superior; a picture runs to the left and posterior.
        values = self.voxels[::-1, ::-1, frame].T
        if (self.slope, self.intercept) != (1.0, 0.0):
            with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused by whoever asked
                values = values.astype(np.float64) * self.slope + self.intercept
        if values.dtype == np.uint8:
            return np.ascontiguousarray(values)
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), self.low, values)  # what lies outside of the field of view
        whole = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
        fits = whole and np.iinfo(np.int16).min <= self.low and self.high <= np.iinfo(np.int16).max
        with np.errstate(over="ignore"):  # what no float holds becomes infinite, and the image is refused
            return np.ascontiguousarray(values, dtype=np.int16 if fits else np.float32)


def _is_label_map(stored: np.ndarray) -> bool:
    """True for few small whole numbers in uniform regions. An 8-bit CT has as small numbers, but more of them."""
    middle = stored[..., :: max(1, stored.shape[-1] // 32)]
    with np.errstate(invalid="ignore"):
        if middle.dtype.kind not in "iu" and not bool((middle == np.rint(middle)).all()):
            return False
    if middle.min() < 0 or middle.max() > 1 << 10 or len(np.unique(middle)) > LABELS_AT_MOST:
        return False
    inside = middle[1:] != 0
    return not inside.any() or float((middle[1:] == middle[:-1])[inside].mean()) > 0.5


def _unreadable(error: Exception) -> BadInput:
    return BadInput(
        "unreadable",
        f"A NIfTI that cannot be read ({type(error).__name__}); a whole file was expected: copy or export it again.",
    )
