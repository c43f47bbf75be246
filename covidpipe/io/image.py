"""One picture, whatever file it came from, and what that file says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np

AIR = -1024  # Hounsfield units; below are only marks of "outside the field of view"


@dataclass(frozen=True)
class Image:
    """One 2-D slice or film, ready to be harmonized.

    Parameters
    ----------
    array : ndarray, shape (rows, columns)
        uint8, int16 or float32; bright is dense (MONOCHROME1 is inverted), Hounsfield units where `intensity` says so.
        The patient's right is on its left (`covidpipe.io.orientation`), if the file says how it lies.
    spacing_mm : tuple of float, optional
        Distance between rows and between columns.
    modality : {"ct", "xr"}, optional
    intensity : {"hounsfield", "windowed_8bit", "radiograph"}, optional
    """

    array: np.ndarray
    spacing_mm: tuple[float, float] | None = None
    modality: str | None = None
    intensity: str | None = None


@dataclass(frozen=True)
class Facts:
    """What a file says of one of its frames, beside the pixels.

    Identifiers are plain here and never leave ingest: its table holds keyed hashes of them.

    Parameters
    ----------
    format : str
    rows, columns : int, optional
    modality, intensity : str, optional
        Only what the file itself tells.
    modality_confidence : float, optional
        Given where `modality` was concluded from the values of a whole volume rather than read in a header.
    spacing_mm : tuple of float, optional
    slice_spacing_mm : float, optional
        As stated; measured positions come first.
    patient : tuple of str
        Issuer and identifier, or empty.
    study, series : str, optional
    position_mm : float, optional
        Place along the body axis, growing from the feet to the head.
    instance : int, optional
        The file's own count within the series.
    orientation : str, optional
        How the stored pixels lie: ``L\\P`` as in `covidpipe.io.orientation`, or the axes of a volume, such as ``RAS``.
        None: the file does not say. `rows`, `columns` and `spacing_mm` are those of the picture brought to standard.
    study_date : date, optional
        Plain here, and never written: ingest turns it into days since the patient's first study.
    transfer_syntax, photometric : str, optional
    warnings : tuple of str
        Codes of ``schemas.REASONS``.
    """

    format: str
    rows: int | None = None
    columns: int | None = None
    modality: str | None = None
    intensity: str | None = None
    modality_confidence: float | None = None
    spacing_mm: tuple[float, float] | None = None
    slice_spacing_mm: float | None = None
    patient: tuple[str, ...] = ()
    study: str | None = None
    series: str | None = None
    position_mm: float | None = None
    instance: int | None = None
    orientation: str | None = None
    study_date: date | None = None
    transfer_syntax: str | None = None
    photometric: str | None = None
    warnings: tuple[str, ...] = ()


class Opened(Protocol):
    """A file whose header was read: the one face that DICOM, NIfTI and raster files show."""

    frames: int

    def check(self) -> None:
        """Raise `BadInput` if the file as a whole cannot be used."""

    def facts(self, frame: int) -> Facts: ...

    def array(self, frame: int, intensity: str | None) -> np.ndarray:
        """Pixels of one frame, shape (rows, columns); raise `BadInput` if there are none to be had.

        `intensity` is what the user declared, if anything.
        """
