"""Files that are full of names, and a search that finds any of them wherever and however it was written."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pyarrow.parquet as pq
import pydicom
import tifffile
import zarr
from pydicom.datadict import DicomDictionary, RepeatersDictionary
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

WORD = "CNRYQ7"  # every marker begins so: one search finds them all
UID = "1.2.826.0.1.7777.31415"
DAY = "19310207"  # before FIRST_FILM it would be taken for none
NUMBER = 48_151_623  # of whatever holds whole numbers only

# What decides whether a file is read as an image, and so is left to the files that are to be refused for it.
READ = {
    *("BitsAllocated", "BitsStored", "BodyPartExamined", "Columns", "HighBit", "ImageOrientationPatient"),
    *(
        "ImagePositionPatient",
        "ImageType",
        "Modality",
        "NumberOfFrames",
        "PatientOrientation",
        "PhotometricInterpretation",
    ),
    *(
        "PixelRepresentation",
        "PixelSpacing",
        "RescaleIntercept",
        "RescaleSlope",
        "Rows",
        "SamplesPerPixel",
        "SOPClassUID",
    ),
}


class Markers:
    """Words that occur nowhere else, counted."""

    def __init__(self) -> None:
        self.count = 0

    def word(self) -> str:
        self.count += 1
        return f"{WORD}{self.count:05d}Z"

    def of(self, vr: str) -> object:
        """A marked value of a DICOM element; None where the type holds none."""
        if vr in ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR"):
            return self.word()
        if vr == "UI":
            self.count += 1
            return f"{UID}.{self.count}"
        if vr in ("DA", "DT"):
            return DAY
        if vr in ("OB", "OW", "UN"):
            return self.word().encode()
        return None


def dicom(path: Path, pixels: np.ndarray, marks: Markers, **header: object) -> Path:
    """`_dicom`, without what pydicom says of values that no standard foresees."""
    loud, quiet = pydicom.config.logger.level, 100
    pydicom.config.logger.setLevel(quiet)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _dicom(path, pixels, marks, **header)
    finally:
        pydicom.config.logger.setLevel(loud)


def _dicom(path: Path, pixels: np.ndarray, marks: Markers, **header: object) -> Path:
    """A CT slice of 8 bits whose every text element, private ones, overlay, preamble and corner carry markers.

    Keywords replace what makes it a readable image; a value of None leaves the element out.
    """
    header = dict(header)
    syntax = header.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    pixels = pixels.copy()
    word = np.frombuffer(marks.word().encode(), np.uint8)
    for row in (0, -1):
        pixels[row, : len(word)] = pixels[row, -len(word) :] = word
    plain = {
        "SOPClassUID": CTImageStorage, "Modality": "CT", "BodyPartExamined": "CHEST", "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "Rows": pixels.shape[0], "Columns": pixels.shape[1],
        "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
        "PatientID": marks.word(), "StudyInstanceUID": f"{UID}.8", "SeriesInstanceUID": f"{UID}.9",
        "StudyDate": DAY, "InstanceNumber": NUMBER,
    } | header  # fmt: skip
    dataset = pydicom.Dataset()
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        vr = vr.split(" or ")[0]
        first = tag >> 16
        if keyword in READ or keyword in plain or retired or first < 8 or first in (0x7FE0, 0xFFFC, 0xFFFE):
            continue
        if (value := marks.of(vr)) is not None:
            dataset.add_new(tag, vr, value)
    nested = pydicom.Dataset()
    nested.PatientName, nested.OtherPatientIDs, nested.TextValue = marks.word(), marks.word(), marks.word()
    deeper = pydicom.Dataset()
    deeper.RequestedProcedureDescription = marks.word()
    nested.ConceptNameCodeSequence = [deeper]
    dataset.RequestAttributesSequence = dataset.OtherPatientIDsSequence = [nested]
    for group in (0x0009, 0x0029):
        block = dataset.private_block(group, marks.word(), create=True)
        block.add_new(1, "LO", marks.word())
        block.add_new(2, "UN", marks.word().encode())
        block.add_new(3, "SQ", [nested])
    for mask, (vr, _, _, _, _) in RepeatersDictionary.items():
        if mask.startswith("60xx") and (value := marks.of(vr.split(" or ")[0])) is not None:
            dataset.add_new(int(mask.replace("x", "0"), 16), vr.split(" or ")[0], value)
    dataset.add_new(0x60003000, "OB", (marks.word() * 200).encode()[: pixels.size // 8])  # overlay bits
    for name, value in plain.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.add_new(0x7FE00010, "OB", pixels.tobytes() + b"\0" * (pixels.size % 2))
    dataset.add_new(0xFFFCFFFC, "OB", marks.word().encode() + b"\0")
    dataset.ensure_file_meta()
    meta = dataset.file_meta
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPInstanceUID, meta.ImplementationVersionName = f"{UID}.10", marks.word()
    meta.SourceApplicationEntityTitle = marks.word()
    dataset.preamble = (marks.word() * 20).encode()[:128]
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=False, implicit_vr=False, little_endian=True)
    return path


def cohort(root: Path, pixels: np.ndarray) -> Markers:
    """A folder of files as hospitals have them, each folder and file called after somebody.

    Parameters
    ----------
    root : Path
    pixels : ndarray of uint8, shape (rows, columns)
        A chest; the files that are read hold it.
    """
    marks = Markers()

    def place(ending: str) -> Path:
        path = root / f"{marks.word()}^JOHN" / marks.word() / f"{marks.word()}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    for _ in range(2):
        dicom(place(".dcm"), pixels, marks)
    for header in (
        {"Modality": marks.word()[:16]},
        {"BodyPartExamined": f"NECK {marks.word()}"},
        {"PhotometricInterpretation": marks.word()},
        {"TransferSyntaxUID": f"{UID}.77"},
        {"ImageType": ["LOCALIZER", marks.word()]},
        {"Rows": None},
        {"SOPClassUID": f"{UID}.78", "Modality": None},
    ):
        dicom(place(".dcm"), pixels, marks, **header)
    cut = place("")
    cut.write_bytes(dicom(place(".dcm"), pixels, marks).read_bytes()[:-3000])
    place(".txt").write_text(marks.word())
    place(".dcm").touch()
    place(".png").symlink_to(root / marks.word())
    words = PIL.PngImagePlugin.PngInfo()
    words.add_text("Patient", marks.word())
    words.add_itxt("Name", marks.word())
    # another picture each: equal ones would be copies of each other, and share one row's fate
    PIL.Image.fromarray(pixels).save(place(".png"), pnginfo=words)
    PIL.Image.fromarray(pixels[::-1]).save(place(".jpg"), comment=marks.word(), quality=95)
    tifffile.imwrite(place(".tif"), pixels[:, ::-1], description=marks.word(), metadata=None, photometric="minisblack")
    volume = np.zeros(352, np.uint8)
    volume[148 : 148 + 12] = np.frombuffer(marks.word().encode(), np.uint8)  # descrip
    volume[:4], volume[344:348] = np.frombuffer(b"\x5c\x01\0\0", np.uint8), np.frombuffer(b"n+1\0", np.uint8)
    place(".nii.gz").write_bytes(gzip.compress(volume.tobytes()))
    return marks


# --- The search -----------------------------------------------------------------------------------------------------


def _patterns() -> list[re.Pattern[bytes]]:
    found = []
    for secret in (WORD, UID, DAY, f"{DAY[:4]}-{DAY[4:6]}-{DAY[6:]}", str(NUMBER)):
        plain = secret.encode()
        forms = {plain, secret.encode("utf-16-le"), secret.encode("utf-16-be"), plain[::-1]}
        for form in (plain, secret.encode("utf-16-le")):
            forms |= {form.hex().encode(), form.hex(" ").encode(), form.hex(":").encode()}
            for shift in range(3):  # base64 looks different at each of three places
                coded = base64.b64encode(b"\0" * shift + form)
                # without the characters that what stands before and behind has a part in
                forms.add(coded[(0, 2, 3)[shift] : 8 * (shift + len(form)) // 6])
        found += [re.compile(re.escape(form), re.IGNORECASE) for form in forms if len(form) > 5]
    return found


PATTERNS = _patterns()


def leaks(folder: Path, *, without: tuple[Path, ...] = ()) -> list[str]:
    """Every file below `folder` whose name or content, unpacked in every way we know, holds a marker."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if not any(p.is_relative_to(other) for other in without)):
        pieces = [("name", str(path.relative_to(folder)).encode("utf-8", "surrogateescape"))]
        pieces += [("name", decoded) for part in path.relative_to(folder).parts for decoded in _base64(part.encode())]
        if path.is_file():
            content = path.read_bytes()
            pieces += unpacked("bytes", content)
            if path.name == "zarr.json" and json.loads(content)["node_type"] == "array":
                pieces.append(("array", np.asarray(zarr.open_array(path.parent, mode="r")[:]).tobytes()))
        for what, content in pieces:
            for pattern in PATTERNS:
                if hit := pattern.search(content):
                    around = content[max(hit.start() - 60, 0) : hit.end() + 20]
                    found.append(f"{path.relative_to(folder)} ({what}): {around!r}")
                    break
    return found


def unpacked(what: str, content: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """`content`, and what is packed in it, and what is packed in that; each with the way that led there."""
    yield what, content
    if depth < DEEPEST:
        for how, inner in _inside(content):
            yield from unpacked(f"{what} > {how}", inner, depth + 1)


DEEPEST = 4


def _inside(content: bytes) -> Iterator[tuple[str, bytes]]:
    if content[:4] == b"PAR1":
        yield from _of_table(content)
    elif content[:4] == b"PK\3\4":
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            for name in packed.namelist():
                yield f"member {name}", packed.read(name)
    elif content[:4] == b"\x89HDF":
        yield from _of_hdf5(content)
    elif content[:4] == ZSTD:
        with contextlib.suppress(imagecodecs.ZstdError):  # a shard: its chunks lie one behind the other
            yield "zstd", imagecodecs.zstd_decode(content)
    elif content[:2] == b"\x1f\x8b":
        yield "gzip", gzip.decompress(content)
    elif content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")):
        yield from _of_picture(content)
    else:
        for bits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):  # with its header, and without
            with contextlib.suppress(zlib.error):
                if inflated := zlib.decompressobj(bits).decompress(content):
                    yield "deflated", inflated
        for number, decoded in enumerate(_base64(content)):
            yield f"base64 {number}", decoded


ZSTD = b"\x28\xb5\x2f\xfd"


def _base64(content: bytes) -> Iterator[bytes]:
    """Every word that may be base64, of files and of addresses, decoded."""
    for word in re.findall(rb"[A-Za-z0-9+/_-]{24,}", content):
        plain = word.translate(bytes.maketrans(b"-_", b"+/"))
        plain = plain[:-1] if len(plain) % 4 == 1 else plain
        yield base64.b64decode(plain + b"=" * (-len(plain) % 4))


def _of_table(content: bytes) -> Iterator[tuple[str, bytes]]:
    with pq.ParquetFile(io.BytesIO(content)) as file:
        yield "metadata", repr(file.schema_arrow.metadata).encode()
        rows = file.read().to_pylist()
    yield "rows", json.dumps(rows, default=repr).encode()
    for row in rows:
        for name, value in row.items():
            if isinstance(value, bytes):
                yield f"cell {name}", value


def _of_hdf5(content: bytes) -> Iterator[tuple[str, bytes]]:
    with h5py.File(io.BytesIO(content)) as file:
        items = [("/", file)]
        file.visititems(lambda name, item: items.append((name, item)))
        for name, item in items:
            yield f"{name} attributes", repr(dict(item.attrs)).encode()
            if isinstance(item, h5py.Dataset):
                yield name, np.asarray(item[()]).tobytes()


def _of_picture(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Pixels, as they are stored and as gray, and of a PNG its chunks of text, which may be packed."""
    with contextlib.suppress(PIL.UnidentifiedImageError, OSError):  # some of the files that go in are cut off
        picture = PIL.Image.open(io.BytesIO(content))
        yield "pixels", picture.tobytes()
        yield "gray", picture.convert("L").tobytes()
        for channel in range(len(picture.getbands())):
            yield f"channel {channel}", picture.getchannel(channel).tobytes()
    at = 8
    while content[:4] == b"\x89PNG" and at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            for start in range(len(body)):
                with contextlib.suppress(zlib.error):
                    yield kind.decode(), zlib.decompress(body[start:])
        at += 12 + length
