"""DICOM: what the header says, and pixels in Hounsfield units or grey levels.

Tags and rules are those of DICOM PS3.3 (2024): C.7.6.3 image pixel, C.7.6.2 image plane, C.7.5.1.1.2 padding,
C.11.1 modality LUT, C.8.2.1 CT image, C.7.6.16 functional groups of multi-frame images.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import get_frame
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from covidpipe.config import Limits
from covidpipe.errors import BadInput
from covidpipe.io import orientation
from covidpipe.io.image import AIR, Facts
from covidpipe.io.raster import check_size, grey

# pydicom logs a traceback for every decoder that it tries in vain; the row's sentence says what came of it.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
# Its warnings quote what stands in a header, whenever a value is looked at: none of that may reach a log.
warnings.filterwarnings("ignore", module="pydicom")

MODALITIES = {"CT": "ct", "CR": "xr", "DX": "xr", "RG": "xr", "XR": "xr"}
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"  # and its enhanced and legacy converted forms, which begin like it
XR_STORAGE = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1")
NO_PICTURE = {
    "SEG": "segmentation object",
    "SR": "structured report",
    "KO": "key object note",
    "PR": "presentation state",
    "REG": "registration",
    "DOC": "document",
    "RTSTRUCT": "set of radiotherapy contours",
    "RTPLAN": "radiotherapy plan",
    "RTDOSE": "radiotherapy dose",
    "RTRECORD": "radiotherapy record",
    "ECG": "waveform",
    "AU": "sound",
}
# A header's own words go nowhere: any text can stand in any element. What is named is chosen from these.
OTHER_MODALITIES = (
    *(
        "BI",
        "BMD",
        "CF",
        "DG",
        "DM",
        "EPS",
        "ES",
        "FA",
        "FS",
        "GM",
        "HC",
        "IO",
        "IVOCT",
        "IVUS",
        "LS",
        "MG",
        "MR",
        "NM",
    ),
    *("OCT", "OP", "OPT", "OPV", "OT", "PT", "PX", "RF", "RTIMAGE", "SC", "SM", "ST", "TG", "US", "VL", "XA", "XC"),
)
PHOTOMETRIC = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB"),
)
DIRECTORY = "1.2.840.10008.1.3.10"

# Encodings that pydicom's plugins leave out, or in part: JPEG of 12 bits, the retired progressive processes (read by
# libjpeg-turbo), high-throughput JPEG 2000 (read by OpenJPEG).
FALLBACKS: dict[str, Callable[[bytes], np.ndarray]] = {
    **{f"1.2.840.10008.1.2.4.{process}": imagecodecs.jpeg_decode for process in (50, 51, 53, 55)},
    **{f"1.2.840.10008.1.2.4.{process}": imagecodecs.jpeg2k_decode for process in (201, 202, 203)},
}

# Encodings that pydicom's plugins read right, but slowly: twice to six times as fast by libjpeg-turbo, liblj92 and
# CharLS (`make bench`). JPEG 2000 is OpenJPEG's in both.
FAST: dict[str, Callable[[bytes], np.ndarray]] = {
    "1.2.840.10008.1.2.4.50": imagecodecs.jpeg8_decode,
    "1.2.840.10008.1.2.4.57": imagecodecs.ljpeg_decode,
    "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_decode,
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_decode,
    "1.2.840.10008.1.2.4.81": imagecodecs.jpegls_decode,
}
# Damaged JPEG and JPEG 2000 can make GDCM end the process: where another of pydicom's decoders reads as much, that is
# taken.
SAFER = {
    **{f"1.2.840.10008.1.2.4.{process}": "pillow" for process in (50, 51, 90, 91)},
    **dict.fromkeys(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), "pyjpegls"),
}
END_OF_IMAGE = b"\xff\xd9"

# Body parts (PS3.16, CID 4 and 4031) that rule a chest out. Words that are not known are let pass: hospitals write
# this free text in their own language.
CHEST = ("CHEST", "THORAX", "LUNG", "HEART", "TRUNK", "WHOLE")
NOT_CHEST = (
    *("ABDOMEN", "ANKLE", "BRAIN", "BREAST", "CALCANEUS", "CERVIX", "CLAVICLE", "COCCYX", "CSPINE", "ELBOW"),
    *("EXTREMITY", "FACE", "FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HUMERUS", "KIDNEY", "KNEE"),
    *("LIVER", "LSPINE", "MANDIBLE", "MAXILLA", "NECK", "ORBIT", "PELVIS", "PROSTATE", "SHOULDER", "SINUS"),
    *("SKULL", "TEETH", "THIGH", "THUMB", "TIBIA", "WRIST", "ZYGOMA"),
)
NOT_CHEST_WORDS = ("ARM", "EAR", "EYE", "HIP", "JAW", "LEG", "TOE")  # only as whole words

# Cosine of the angle between the slice's normal and the body axis. A gantry tilts by 30 degrees at most.
AXIAL_COSINE = 0.8
TILT_DEGREES = 1.0

DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
# What removes names writes such a day into every study: it says nothing of how far apart they are.
FIRST_FILM = date(1900, 1, 1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without pydicom's warnings, which are of the form of values; what matters of it is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@functools.cache
def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    assert tag is not None, "the words asked for are DICOM's"
    return Tag(tag)


class Dicom:
    """An opened DICOM file, with or without preamble and meta header."""

    @_quiet()
    def __init__(self, path: Path, limits: Limits):
        self.limits = limits
        self._converted: dict[str, Any] = {}
        try:
            self.header = pydicom.dcmread(path, force=True)
        # A damaged header raises whatever its bytes provoke: EOFError, ValueError, KeyError, NotImplementedError ...
        except Exception as error:
            raise BadInput(
                "unreadable",
                f"A DICOM whose header cannot be read ({type(error).__name__}); a whole file was expected: "
                "copy or export it again.",
            ) from error
        self.frames = max(1, self._number("NumberOfFrames") or 1)
        self.syntax = self._syntax()
        self.photometric = self._word("PhotometricInterpretation")
        self.modality = self._modality()

    def _value(self, keyword: str, frame: int = 0, group: str = "") -> Any:
        """A header's value: at the top, else in the frame's functional group, else in the shared one."""
        try:
            value = self._at_top(keyword)
            if value is not None or not group:
                return value
            for groups, place in (
                (self._at_top("PerFrameFunctionalGroupsSequence"), frame),
                (self._at_top("SharedFunctionalGroupsSequence"), 0),
            ):
                if groups and place < len(groups) and group in groups[place]:
                    value = groups[place][group][0].get(keyword)
                if value is not None:
                    return value
        # Values are converted when they are asked for, and raise whatever their bytes provoke: taken for absent.
        except Exception:
            return None
        return None

    def _at_top(self, keyword: str) -> Any:
        """A value of the whole file; it is converted once, as that takes a tenth of the time of reading a slice."""
        if keyword not in self._converted:
            tag = _tag(keyword)
            self._converted[keyword] = self.header[tag].value if tag in self.header else None
        return self._converted[keyword]

    def _word(self, keyword: str) -> str:
        value = self._value(keyword)  # of an untrusted kind: a sequence would be written out, with all that it holds
        return "" if isinstance(value, Sequence) else str(value or "").strip()

    def _number(self, keyword: str) -> int | None:
        numbers = self._numbers(keyword, 1)
        return int(numbers[0]) if numbers else None

    def _numbers(self, keyword: str, count: int, frame: int = 0, group: str = "") -> tuple[float, ...] | None:
        value = self._value(keyword, frame, group)
        try:
            numbers = tuple(float(v) for v in (value if count > 1 else (value,)))
        except (TypeError, ValueError):
            return None
        return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None

    def _syntax(self) -> UID | None:
        meta = getattr(self.header, "file_meta", None)
        stated = meta.get("TransferSyntaxUID") if meta else None
        if stated:
            return UID(str(stated))
        implicit, little = self.header.original_encoding
        if implicit is None:
            return None
        guessed = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        self.header.ensure_file_meta()
        self.header.file_meta.TransferSyntaxUID = guessed  # the decoder asks for it
        return guessed

    def _modality(self) -> str | None:
        stated = self._word("Modality").upper()
        if stated:
            return MODALITIES.get(stated)
        storage = self._word("SOPClassUID")
        if storage == CT_STORAGE or storage.startswith(f"{CT_STORAGE}."):
            return "ct"
        return "xr" if storage.startswith(XR_STORAGE) and storage[len(XR_STORAGE[0]) :][:1] in ("", ".") else None

    @_quiet()
    def check(self) -> None:
        stated = self._word("Modality").upper()
        if stated in NO_PICTURE or self._word("SOPClassUID") == DIRECTORY or "DirectoryRecordSequence" in self.header:
            what = NO_PICTURE.get(stated, "directory")
            raise BadInput("not_an_image", f"A DICOM {what}; a CT or X-ray image was expected: leave it out.")
        if not any(name in self.header for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            if "Rows" in self.header:
                raise BadInput(
                    "unreadable",
                    "A DICOM that announces an image but holds no pixels; a whole file was expected: export it again.",
                )
            raise BadInput(
                "not_an_image", "A DICOM without pixels; a CT or X-ray image was expected: leave it out, or export it."
            )
        if stated and self.modality is None:
            raise BadInput(
                "unsupported_modality",
                f"A DICOM of {_other_modality(stated)}; CT, CR or DX was expected: leave it out, or "
                "correct its Modality.",
            )
        part = self._word("BodyPartExamined").upper()
        words = set(part.replace("_", " ").split())
        other = [word for word in NOT_CHEST if word in part] + [word for word in NOT_CHEST_WORDS if word in words]
        if other and not any(word in part for word in CHEST):
            raise BadInput(
                "not_chest",
                f"BodyPartExamined is {other[0]}; a chest was expected: leave it out, or correct the header.",
            )
        if self.modality == "ct":
            self._check_axial()
        check_size(self.frames, (self._number("Rows") or 0) * (self._number("Columns") or 0), self.limits)

    def _check_axial(self) -> None:
        localizer = "LOCALIZER" in self._word("ImageType").upper()
        normal = self._normal(0)
        if localizer or (normal is not None and normal[2] < AXIAL_COSINE):
            raise BadInput(
                "not_axial",
                f"A CT {'localizer' if localizer else 'plane that is not axial'}; an axial slice was expected: "
                "leave it out, or reformat the series.",
            )

    def _normal(self, frame: int) -> np.ndarray | None:
        """Unit vector across the slice, towards the head, in DICOM's patient coordinates; None if not stated."""
        cosines = self._numbers("ImageOrientationPatient", 6, frame, "PlaneOrientationSequence")
        if cosines is None:
            return None
        normal = np.cross(cosines[:3], cosines[3:])
        length = float(np.linalg.norm(normal))
        if length < 0.5:  # not two unit vectors at a right angle
            return None
        return normal / length * (1.0 if normal[2] >= 0 else -1.0)

    @_quiet()
    def facts(self, frame: int) -> Facts:
        normal = self._normal(frame)
        position = self._numbers("ImagePositionPatient", 3, frame, "PlanePositionSequence")
        tilt = self._numbers("GantryDetectorTilt", 1) or (0.0,)
        oblique = normal is not None and float(np.degrees(np.arccos(min(1.0, normal[2])))) > TILT_DEGREES
        is_ct = self.modality == "ct"
        patient = self._word("PatientID")
        issuer = self._word("IssuerOfPatientID")
        apart = self._numbers("SpacingBetweenSlices", 1, frame, "PixelMeasuresSequence")
        lies, rows, columns = self._orientation(frame), self._number("Rows"), self._number("Columns")
        spacing = self._spacing(frame)
        if lies is not None and orientation.is_turned(lies):
            rows, columns, spacing = columns, rows, spacing and spacing[::-1]
        odd = [("gantry_tilt", is_ct and (oblique or abs(tilt[0]) > TILT_DEGREES))]
        odd += [("not_frontal", self.modality == "xr" and lies is not None and orientation.standard_of(lies) is None)]
        return Facts(
            format="dicom",
            rows=rows,
            columns=columns,
            modality=self.modality,
            intensity="hounsfield" if is_ct and self._rescale(frame) is not None else None,
            spacing_mm=spacing,
            slice_spacing_mm=abs(apart[0]) or None if apart and is_ct else None,
            patient=tuple(word for word in (issuer, patient) if word) if patient else (),
            study=self._word("StudyInstanceUID") or None,
            series=self._word("SeriesInstanceUID") or None,
            position_mm=float(np.dot(normal, position)) if is_ct and normal is not None and position else None,
            instance=self._number("InstanceNumber"),
            orientation=lies,
            study_date=self._date(),
            transfer_syntax=str(self.syntax) if self.syntax and self.syntax.name != self.syntax else None,
            photometric=self.photometric if self.photometric in PHOTOMETRIC else None,
            warnings=tuple(code for code, holds in odd if holds),
        )

    def _orientation(self, frame: int) -> str | None:
        """How the stored pixels lie; ImageOrientationPatient is exact, PatientOrientation says it in words.

        Both speak of the patient, so it does not matter here whether feet or head went first into the gantry, or on
        which side the patient lay (PatientPosition).
        """
        cosines = self._numbers("ImageOrientationPatient", 6, frame, "PlaneOrientationSequence")
        stated = None if cosines is None else orientation.of_cosines(cosines)
        words = self._value("PatientOrientation")
        return stated or (orientation.of_words(words) if isinstance(words, list | MultiValue) else None)

    def _date(self) -> date | None:
        for keyword in DATES:
            try:
                found = datetime.strptime(self._word(keyword).replace(".", "")[:8], "%Y%m%d").date()
            except ValueError:
                continue
            return found if found > FIRST_FILM else None
        return None

    def _spacing(self, frame: int) -> tuple[float, float] | None:
        # ImagerPixelSpacing is measured at the detector, where the shadow of a chest is some 5 to 20 % larger than
        # the chest: areas from it are too large by its square. It is used only where nothing better is stated.
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            spacing = self._numbers(keyword, 2, frame, "PixelMeasuresSequence")
            if spacing is not None and min(spacing) > 0:
                return spacing[0], spacing[1]
        return None

    def _rescale(self, frame: int) -> tuple[float, float] | None:
        slope = self._numbers("RescaleSlope", 1, frame, "PixelValueTransformationSequence")
        intercept = self._numbers("RescaleIntercept", 1, frame, "PixelValueTransformationSequence")
        return (slope[0], intercept[0]) if slope and intercept and slope[0] != 0 else None

    @_quiet()
    def array(self, frame: int, intensity: str | None) -> np.ndarray:
        lies = self._orientation(frame)
        values = self._values(frame, intensity)
        return values if lies is None else np.ascontiguousarray(orientation.to_standard(values, lies))

    def _values(self, frame: int, intensity: str | None) -> np.ndarray:
        stored = self._decode(frame)
        if self.photometric == "PALETTE COLOR":
            stored = apply_color_lut(stored, self.header)
        if stored.ndim == 3:
            return grey(stored)
        padding = self._padding(stored)
        values = self._modality_values(stored, frame, intensity)
        if self.photometric == "MONOCHROME1" and not self._in_hounsfield(frame, intensity):
            # Dark is dense only on the screen: Hounsfield units mean the same whatever the display.
            values = self._top(stored, values) - values
        if padding is not None and padding.any() and not padding.all():
            outside = np.int16(AIR) if self._in_hounsfield(frame, intensity) else values[~padding].min()
            values = np.where(padding, outside, values)  # unsigned values become signed ones, if they have to
        return _small(values)

    def _in_hounsfield(self, frame: int, intensity: str | None) -> bool:
        return self.modality == "ct" and intensity != "windowed_8bit"

    def _decode(self, frame: int) -> np.ndarray:
        fast = self._decode_fast(frame)
        if fast is not None:
            return fast
        try:
            return np.asarray(pixel_array(self.header, index=frame, decoding_plugin=self._decoder()))
        # Native decoders of unknown bytes: what they raise has no common type.
        except Exception as error:
            failed = error
        fallback = FALLBACKS.get(str(self.syntax))
        if fallback is not None:
            try:
                return self._decode_with(fallback, frame)
            except Exception as error:  # see above
                failed = error
        elif not self._has_decoder():
            name = self.syntax.name if self.syntax is not None else "not stated"
            name = name if name != self.syntax else "which the standard does not know"
            raise BadInput(
                "unsupported_transfer_syntax",
                f"The encoding of the pixels, {name}, has no decoder; a still-image encoding was expected: export the "
                "image as Explicit VR Little Endian.",
            ) from failed
        raise BadInput(
            "unreadable",
            f"Pixels that cannot be decoded ({type(failed).__name__}); a whole file was expected: export it again.",
        ) from failed

    def _decode_fast(self, frame: int) -> np.ndarray | None:
        """The stored values by a decoder of `FAST`, or None: what is unusual is left to pydicom, and what fails.

        Those decoders give signed values as unsigned ones, and know nothing of bits that are not stored.
        """
        decode = FAST.get(str(self.syntax))
        if decode is None:
            return None
        allocated, stored, samples = (self._number(word) for word in ("BitsAllocated", "BitsStored", "SamplesPerPixel"))
        signed = self._number("PixelRepresentation")
        if samples != 1 or signed not in (0, 1) or (signed and stored != allocated):
            return None
        try:
            code = get_frame(self.header.PixelData, frame, number_of_frames=self.frames)
            if END_OF_IMAGE not in code[-4:]:  # cut off: how much is shown of the rest differs from decoder to decoder
                return None
            pixels = decode(code)
        except Exception:  # native decoders of unknown bytes; pydicom says what is wrong with them
            return None
        if (
            pixels.shape != (self._number("Rows"), self._number("Columns"))
            or pixels.dtype.str[1:] != f"u{(allocated or 0) // 8}"
        ):
            return None
        return pixels.view(np.int16 if allocated == 16 else np.int8) if signed else pixels

    def _decoder(self) -> str:
        """The decoder that pydicom is to take, by its name; empty: whichever it finds, GDCM first."""
        twelve_bits = self.syntax == JPEGExtended12Bit and (self._number("BitsStored") or 0) > 8
        return "" if twelve_bits else SAFER.get(str(self.syntax), "")

    def _has_decoder(self) -> bool:
        try:
            return self.syntax is not None and get_decoder(self.syntax).is_available
        except NotImplementedError:
            return False

    def _decode_with(self, decode: Callable[[bytes], np.ndarray], frame: int) -> np.ndarray:
        pixels = decode(get_frame(self.header.PixelData, frame, number_of_frames=self.frames))
        if pixels.shape[:2] != (self.header.Rows, self.header.Columns):
            raise ValueError("the encoded picture has another size than the header says")
        return pixels

    def _padding(self, stored: np.ndarray) -> np.ndarray | None:
        """True where a pixel stands for nothing, shape (rows, columns); None if no value is said to."""
        value, limit = self._number("PixelPaddingValue"), self._number("PixelPaddingRangeLimit")
        if value is None or stored.dtype.kind not in "iu":
            return None
        ends = [value, value if limit is None else limit]
        if stored.dtype.kind == "u":  # a value that was written as if it were signed
            ends = [end + (1 << 8 * stored.dtype.itemsize) if end < 0 else end for end in ends]
        return (stored >= min(ends)) & (stored <= max(ends))

    def _modality_values(self, stored: np.ndarray, frame: int, intensity: str | None) -> np.ndarray:
        table = self._value("ModalityLUTSequence")
        if table:
            return self._looked_up(stored, table[0])
        rescale = self._rescale(frame)
        if rescale is None:
            if self.modality == "ct" and intensity is None:
                raise BadInput(
                    "not_hounsfield",
                    f"Values {stored.min()}…{stored.max()}, but CT needs Hounsfield units (about -1024…3000): "
                    "RescaleSlope and RescaleIntercept are absent. Re-export with them, or declare "
                    "`intensity: windowed_8bit`.",
                )
            return stored
        slope, intercept = rescale
        if (slope, intercept) == (1.0, 0.0):
            return stored
        if slope.is_integer() and intercept.is_integer() and stored.dtype.kind in "iu":
            ends = [int(end) * int(slope) + int(intercept) for end in (stored.min(), stored.max())]
            for dtype in (np.int16, np.int32, np.int64):
                if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                    return _linear(stored, int(slope), int(intercept), dtype)
        with np.errstate(over="ignore"):  # what becomes infinite is refused with all that is no number
            return stored.astype(np.float64) * slope + intercept

    def _looked_up(self, stored: np.ndarray, table: pydicom.Dataset) -> np.ndarray:
        try:
            entries, first, bits = (int(v) for v in table.LUTDescriptor)
            if isinstance(table.LUTData, bytes):
                order = "<" if self.header.original_encoding[1] else ">"
                values = np.frombuffer(table.LUTData, dtype=f"{order}u2" if bits > 8 else "u1")
            else:
                values = np.asarray(table.LUTData)
            values = values[: entries or 1 << 16]
            if first >= 1 << 15 and stored.dtype.kind == "i":
                first -= 1 << 16
            return values[np.clip(stored.astype(np.int64) - first, 0, len(values) - 1)]
        # A table of untrusted values: absent, of the wrong length or type.
        except (AttributeError, TypeError, ValueError, IndexError) as error:
            raise BadInput(
                "unreadable", "A modality LUT that cannot be used; a table of values was expected: export it again."
            ) from error

    def _top(self, stored: np.ndarray, values: np.ndarray) -> Any:
        """The value that black is inverted to: white of the stored bits, or the mirror of the values themselves."""
        bits = self._number("BitsStored")
        if values is stored and bits and stored.dtype.kind == "u" and int(stored.max()) < 1 << bits:
            return values.dtype.type((1 << bits) - 1)
        wide = values.astype(np.float64) if values.dtype.kind == "f" else values.astype(np.int64)
        return wide.max() + wide.min()


def _other_modality(stated: str) -> str:
    """A modality that is not read, in words that are the standard's and not the file's."""
    return f"modality {stated}" if stated in OTHER_MODALITIES else "a modality that the standard does not know"


def _linear(stored: np.ndarray, slope: int, intercept: int, dtype: type[np.signedinteger]) -> np.ndarray:
    """``slope * stored + intercept`` in a type that holds the result; what lies between may run over, and comes back.

    >>> _linear(np.array([65535, 40000], np.uint16), 1, -40000, np.int16)
    array([25535,     0], dtype=int16)
    """
    full = 1 << 8 * np.dtype(dtype).itemsize
    factor, term = (dtype((number + full // 2) % full - full // 2) for number in (slope, intercept))
    values = stored.astype(dtype)
    if factor != 1:
        values *= factor
    values += term
    return values


def _small(values: np.ndarray) -> np.ndarray:
    """The same numbers as uint8, int16 or float32: the smallest of them that holds all."""
    if values.dtype in (np.uint8, np.int16):
        return np.ascontiguousarray(values)
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        fits = np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max
        return np.ascontiguousarray(values, dtype=np.int16 if fits else np.float32)
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return np.ascontiguousarray(values, dtype=np.float32)
