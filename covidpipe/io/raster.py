"""PNG, JPEG and TIFF, 8 or 16 bit, by content and not by name."""

from __future__ import annotations

import logging
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tifffile

from covidpipe.config import Limits
from covidpipe.errors import BadInput
from covidpipe.io.image import Facts

# Our own limit (config `limits`) is checked before any pixel is decoded; Pillow's would warn at another one.
PIL.Image.MAX_IMAGE_PIXELS = None
# Both tell of damage with the words that they found in the file; the row's sentence says what came of it.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="PIL")

# A grey picture saved as color JPEG has chroma noise of a few grey levels, and more of it along sharp edges.
CHROMA_TOLERANCE = 0.1  # share of the value range by which channels may differ
COLORED_SHARE = 0.01  # share of pixels that may differ more


class Raster:
    """An opened PNG or JPEG (one frame) or TIFF (one frame a page)."""

    def __init__(self, path: Path, kind: str, limits: Limits):
        self.path, self.kind, self.limits = path, kind, limits
        # Pillow and tifffile raise whatever a damaged file provokes: OSError, SyntaxError, ValueError, struct.error ...
        try:
            if kind == "tiff":
                with tifffile.TiffFile(path) as tiff:
                    # One more than allowed is enough to refuse it: a chain of pages may be endless.
                    pages: list[Any] = list(islice(tiff.pages, limits.max_frames + 1))
                    self.shapes = [(int(page.imagelength), int(page.imagewidth)) for page in pages]
            else:
                with PIL.Image.open(path, formats=[kind]) as picture:
                    self.shapes = [picture.size[::-1]]
        except Exception as error:
            raise self._unreadable(error) from error
        self.frames = len(self.shapes)

    def _unreadable(self, error: Exception) -> BadInput:
        return BadInput(
            "unreadable",
            f"A {self.kind.upper()} that cannot be decoded ({type(error).__name__}); a whole file was expected: "
            "copy or export it again.",
        )

    def check(self) -> None:
        if not self.frames:
            raise BadInput("unreadable", "A TIFF without a page; one page or more was expected: export it again.")
        check_size(self.frames, max(rows * columns for rows, columns in self.shapes), self.limits)

    def facts(self, frame: int) -> Facts:
        rows, columns = self.shapes[frame]
        return Facts(format=self.kind, rows=rows, columns=columns, instance=frame if self.frames > 1 else None)

    def array(self, frame: int, intensity: str | None) -> np.ndarray:
        try:
            pixels = self._decode(frame)
        except Exception as error:
            raise self._unreadable(error) from error
        return grey(pixels)

    def _decode(self, frame: int) -> np.ndarray:
        if self.kind == "tiff":
            with tifffile.TiffFile(self.path) as tiff:
                page: Any = tiff.pages[frame]
                pixels = page.asarray()
                if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
                    pixels = np.moveaxis(page.colormap[:, pixels], 0, -1)
                if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
                    pixels = invert(pixels)
                if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
                    pixels = np.moveaxis(pixels, 0, -1)
            return pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
        with PIL.Image.open(self.path, formats=[self.kind]) as picture:
            if picture.mode in ("L", "I;16", "I;16B", "I", "F"):
                return np.asarray(picture)
            # Alpha is dropped, not blended: what lies under it is the picture.
            return np.asarray(picture.convert("L" if picture.mode in ("1", "LA", "La") else "RGB"))


def check_size(frames: int, pixels: int, limits: Limits) -> None:
    """Raise `BadInput` if a file has more frames, or a frame more pixels, than the limits allow."""
    if pixels > limits.max_pixels:
        raise BadInput(
            "too_large",
            f"A frame of {pixels:,} pixels; at most {limits.max_pixels:,} are allowed: raise `limits.max_pixels` if "
            "this is meant.",
        )
    if frames > limits.max_frames:
        raise BadInput(
            "too_large",
            f"{frames:,} frames in one file; at most {limits.max_frames:,} are allowed: raise `limits.max_frames` if "
            "this is meant.",
        )


def invert(pixels: np.ndarray) -> np.ndarray:
    """Swap dark and bright within the range of the type (unsigned) or of the values (others)."""
    if pixels.dtype.kind == "u":
        return np.iinfo(pixels.dtype).max - pixels
    return pixels.max() + pixels.min() - pixels


def grey(pixels: np.ndarray) -> np.ndarray:
    """Reduce equal color channels to one and give the values a plain type.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns) or (rows, columns, channels)
        A fourth (or second) channel is alpha and dropped.

    Returns
    -------
    ndarray, shape (rows, columns)
        uint8, int16 or float32.

    Raises
    ------
    BadInput
        ``color_image``, or ``not_an_image`` for another shape.
    """
    if pixels.ndim == 3 and pixels.shape[-1] in (1, 2):
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        pixels = _one_channel(pixels[..., :3])
    if pixels.ndim != 2:
        raise BadInput(
            "not_an_image",
            f"An array of {pixels.ndim} dimensions; rows and columns were expected: export single images.",
        )
    # <u1 and >i2 are the same numbers: copies in other containers must have equal bytes.
    plain = {"u1": np.uint8, "i2": np.int16}.get(pixels.dtype.str[1:], np.float32)
    return np.ascontiguousarray(pixels, dtype=plain)


def _one_channel(colors: np.ndarray) -> np.ndarray:
    full = 1.0 if colors.dtype.kind == "f" else float(np.iinfo(colors.dtype).max)
    spread = colors.max(axis=-1).astype(np.float64) - colors.min(axis=-1)
    colored = float((spread > CHROMA_TOLERANCE * full).mean())
    if colored > COLORED_SHARE:
        raise BadInput(
            "color_image",
            f"A color picture ({100 * colored:.0f} % of the pixels are colored); a grey CT or X-ray image was "
            "expected: export the image itself, without overlays.",
        )
    if not spread.any():
        return colors[..., 0]
    return np.rint(colors.mean(axis=-1)).astype(colors.dtype)
