"""Damaged files of every kind that is read: what a standard says of each, and then something else.

A maker takes a `random.Random` and gives a file's ending and bytes. Hypothesis drives the same makers in the tests, and
there finds the least of a file's choices that still fail.
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pydicom
import tifffile
import yaml
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

ROOT = Path(__file__).parent.parent.parent
SIDE = 72
LARGEST_SEED = 150_000  # bytes of a real file that is damaged: larger ones only cost time

ODD_NUMBERS = (
    *(0, 1, 2, 7, 8, 63, 64, 255, 256, 32_767, 32_768, 65_535),
    *(-1, -32_768, 2**31 - 1, 2**31, 2**32 - 1, 10**9),
)
ODD_WORDS = ("", "0", "-1", "nan", "inf", "1e308", "1e-308", "1\\2", "\\\\\\", "=1+1", "é", "\0", "9" * 64, "a" * 5000)


def chest() -> np.ndarray:
    """An image with lungs, uint8 (SIDE, SIDE)."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    body = np.hypot((rows - 36) / 30, (columns - 36) / 34) < 1
    lung = np.hypot((rows - 36) / 16, (abs(columns - 36) - 14) / 8) < 1
    noise = np.random.default_rng(0).integers(0, 12, (SIDE, SIDE))
    return (np.where(lung, 60, np.where(body, 190, 4)) + noise).astype(np.uint8)


# --- Any bytes ------------------------------------------------------------------------------------------------------


def damaged(content: bytes, random: Random) -> bytes:
    """Flip, cut, repeat, overwrite or put in some bytes; lengths of four bytes become enormous more often than not."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        at = random.randrange(len(data)) if random.random() < 0.5 else random.randrange(min(len(data), 600))
        length = min(random.choice((1, 1, 2, 4, 8, 64, 1024)), len(data) - at)
        how = random.randrange(7)
        if how == 0:
            data[at] ^= 1 << random.randrange(8)
        elif how == 1:
            del data[at : at + length if random.random() < 0.5 else None]
        elif how == 2:
            data[at:at] = data[at : at + length] * random.choice((1, 2, 50))
        elif how == 3:
            data[at : at + length] = random.randbytes(length)
        elif how == 4:
            number = random.choice(ODD_NUMBERS) & 0xFFFFFFFF
            data[at : at + 4] = number.to_bytes(4, random.choice(("little", "big")))
        elif how == 5:
            data[at : at + length] = bytes([random.choice((0, 255))]) * length
        else:
            other = random.randrange(len(data))
            data[at : at + length] = data[other : other + length]
    return bytes(data)


# --- DICOM ----------------------------------------------------------------------------------------------------------


@cache
def dicom_seeds() -> tuple[bytes, ...]:
    """Slices in every encoding that can be written here, then small real ones where they are found."""
    seeds = []
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        seeds.append(_written(_slice(), syntax))
    for syntax, encode in ((JPEG2000Lossless, _jpeg2000), (JPEGLSLossless, imagecodecs.jpegls_encode)):
        packed = _slice()
        stored = np.frombuffer(packed.PixelData, "<i2").reshape(SIDE, SIDE) + 1024
        packed.PixelRepresentation, packed.RescaleIntercept = 0, -1024
        packed.PixelData = encapsulate([encode(stored.astype(np.uint16))])
        packed["PixelData"].is_undefined_length = True
        seeds.append(_written(packed, syntax))
    packed = _slice()
    packed.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    packed.compress(RLELossless)
    seeds.append(_written(packed, RLELossless))
    frames = _slice()
    frames.NumberOfFrames = 3
    frames.PixelData = frames.PixelData * 3
    seeds.append(_written(frames, ExplicitVRLittleEndian))
    folder = Path(os.environ.get("COVIDPIPE_DATA") or ROOT.parent / "shared" / "data") / "dicom-odd"
    real = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".csv", ".md"))
    return (*seeds, *(path.read_bytes() for path in real if path.stat().st_size < LARGEST_SEED))


def _jpeg2000(stored: np.ndarray) -> bytes:
    return imagecodecs.jpeg2k_encode(stored, codecformat="J2K", reversible=True)


def _slice() -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    hu = np.where(chest() < 30, -1000, np.where(chest() < 100, -800, 40)).astype(np.int16)
    hu += np.random.default_rng(1).integers(0, 30, hu.shape).astype(np.int16)
    for name, value in {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": "1.2.3", "Modality": "CT", "PatientID": "P",
        "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "InstanceNumber": 1, "BodyPartExamined": "CHEST",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0], "PixelSpacing": [0.7, 0.7], "RescaleSlope": 1, "RescaleIntercept": 0,
        "PhotometricInterpretation": "MONOCHROME2", "SamplesPerPixel": 1, "Rows": SIDE, "Columns": SIDE,
        "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1, "StudyDate": "20200301",
    }.items():  # fmt: skip
        setattr(dataset, name, value)
    dataset.PixelData = hu.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.ensure_file_meta()
    return dataset


def _written(dataset: pydicom.Dataset, syntax: str) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    file = io.BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(file, dataset, enforce_file_format=True, implicit_vr=implicit, little_endian=little)
    return file.getvalue()


# Elements that decide how pixels are read, and values for them that no scanner writes.
DECIDING: tuple[str, ...] = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PlanarConfiguration", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept"),
    *("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "PatientOrientation", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "Modality", "SOPClassUID", "BodyPartExamined", "ImageType", "SpecificCharacterSet"),
    *("PatientID", "StudyDate", "InstanceNumber", "GantryDetectorTilt", "SpacingBetweenSlices", "StudyInstanceUID"),
)


def dicom(random: Random) -> tuple[str, bytes]:
    seed = random.choice(dicom_seeds())
    if random.random() < 0.4:
        return ".dcm", damaged(seed, random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            content = _wrong_header(seed, random)
        except Exception:  # pydicom refuses to write some of it: bytes then have to do
            content = damaged(seed, random)
    return ".dcm", damaged(content, random) if random.random() < 0.2 else content


def _wrong_header(seed: bytes, random: Random) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(seed), force=True)
    for _ in range(random.choice((1, 1, 2, 3))):
        name = random.choice(DECIDING)
        how = random.randrange(6)
        if how == 0:
            dataset.pop(name, None)
        elif how == 1:
            _put(dataset, name, random.choice(ODD_NUMBERS))
        elif how == 2:
            _put(dataset, name, random.choice(ODD_WORDS))
        elif how == 3:
            _put(dataset, name, [random.choice(ODD_NUMBERS) for _ in range(random.choice((0, 1, 2, 3, 6, 4000)))])
        elif how == 4:
            _nest(dataset, random.choice((1, 10, 60, 180)))
        else:
            table = pydicom.Dataset()
            table.LUTDescriptor = [random.choice(ODD_NUMBERS) & 0xFFFF for _ in range(random.choice((0, 2, 3)))]
            table.LUTData = random.randbytes(random.choice((0, 1, 2, 512)))
            dataset.ModalityLUTSequence = [table]
    if random.random() < 0.2:
        dataset.file_meta.TransferSyntaxUID = random.choice(
            (
                *(
                    "1.2.840.10008.1.2",
                    "1.2.840.10008.1.2.1",
                    "1.2.840.10008.1.2.2",
                    "1.2.840.10008.1.2.5",
                    "1.2.3",
                    "",
                ),
                *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 100, 110, 201, 203)),
            )
        )
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=False, implicit_vr=False, little_endian=True)
    return file.getvalue()


def _put(dataset: pydicom.Dataset, name: str, value: Any) -> None:
    with pydicom.config.disable_value_validation():
        setattr(dataset, name, value)


def _nest(dataset: pydicom.Dataset, depth: int) -> None:
    inner = pydicom.Dataset()
    inner.PatientName = "deep"
    for _ in range(depth):
        outer = pydicom.Dataset()
        outer.RequestAttributesSequence = [inner]
        inner = outer
    dataset.RequestAttributesSequence = [inner]


# --- NIfTI ----------------------------------------------------------------------------------------------------------


def nifti(random: Random) -> tuple[str, bytes]:
    """A header with dimensions, types and scales of anyone's choice, and as many bytes behind it as come."""
    shape = [random.choice((1, 2, 8, 64, 72, 80)) for _ in range(3)]
    header = bytearray(348)
    odd = random.random() < 0.7
    dims = [random.choice((0, 1, 2, 3, 3, 3, 4, 5, 7, 8, -1)) if odd else 3, *shape, 1, 1, 1, 1]
    if odd:
        dims[random.randrange(1, 8)] = random.choice(ODD_NUMBERS)
    code, size = random.choice(((2, 1), (4, 2), (8, 4), (16, 4), (64, 8), (128, 3), (256, 1), (512, 2), (1792, 16)))
    order = random.choice("<<<>")
    struct.pack_into(f"{order}i", header, 0, 348 if random.random() < 0.95 else random.choice(ODD_NUMBERS) & 0x7FFFFFFF)
    struct.pack_into(f"{order}8h", header, 40, *(max(-32768, min(32767, n)) for n in dims))
    code = code if random.random() < 0.9 else random.choice((0, 1, 3, 999))
    struct.pack_into(f"{order}2h", header, 70, code, 8 * size)
    numbers = [random.choice((0.0, 1.0, -1.0, 0.7, 1e38, float("nan"), float("inf"))) for _ in range(8)]
    struct.pack_into(f"{order}8f", header, 76, *numbers)
    struct.pack_into(f"{order}f", header, 108, random.choice((352.0, 352.0, 352.0, 0.0, -1.0, 1e9, float("nan"))))
    struct.pack_into(f"{order}2f", header, 112, *random.choices((0.0, 1.0, -1.0, 1e30, float("nan")), k=2))
    struct.pack_into(f"{order}2h", header, 252, *random.choices((0, 1, 2, 99, -1), k=2))
    struct.pack_into(f"{order}12f", header, 280, *random.choices((0.0, 1.0, -1.0, 1e-30, float("nan")), k=12))
    header[344:348] = random.choice((b"n+1\0", b"n+1\0", b"n+1\0", b"ni1\0"))
    voxels = np.random.default_rng(random.randrange(100)).integers(0, 255, min(int(np.prod(shape)) * size, 200_000))
    content = bytes(header) + b"\0" * 4 + voxels.astype(np.uint8).tobytes()
    if random.random() < 0.3:
        content = damaged(content, random)
    if random.random() < 0.5:
        content = gzip.compress(content, 1) + random.choice((b"", b"", b"", _zeros("gzip", 30_000_000)))
        if random.random() < 0.4:
            content = damaged(content, random)
        return ".nii.gz", content
    return ".nii", content


@cache
def _zeros(form: str, count: int) -> bytes:
    """So many zeros, packed: made once, as packing them takes longer than all else of a file."""
    return gzip.compress(bytes(count), 1, mtime=0) if form == "gzip" else zlib.compress(bytes(count), 9)


# --- PNG, JPEG, TIFF ------------------------------------------------------------------------------------------------


@cache
def pictures(form: str) -> tuple[bytes, ...]:
    grey = chest()
    arrays = [grey, (grey.astype(np.uint16) << 8), np.stack([grey] * 3, -1), grey > 90]
    files = []
    if form == "tiff":
        options: tuple[dict[str, Any], ...] = (
            *({}, {"compression": "zlib"}, {"compression": "lzw"}, {"compression": "packbits"}),
            *({"compression": "jpeg"}, {"tile": (16, 16)}, {"bigtiff": True}, {"byteorder": ">"}),
        )
        for option in options:
            file = io.BytesIO()
            tifffile.imwrite(file, grey, photometric="minisblack", metadata=None, **option)
            files.append(file.getvalue())
        file = io.BytesIO()
        tifffile.imwrite(file, np.stack([grey] * 5), photometric="minisblack", metadata=None)
        return (*files, file.getvalue())
    for array in arrays:
        if form == "jpeg" and array.dtype != np.uint8:
            continue
        for extra in ({}, {"progressive": True}) if form == "jpeg" else ({}, {"bits": 4}):
            file = io.BytesIO()
            PIL.Image.fromarray(array).save(file, form, **extra)
            files.append(file.getvalue())
    file = io.BytesIO()
    PIL.Image.fromarray(grey).convert("P").save(file, "png") if form == "png" else None
    return (*files, *([file.getvalue()] if form == "png" else []))


def png(random: Random) -> tuple[str, bytes]:
    """Chunks with right checksums and wrong content, in any order; or damaged bytes."""
    content = random.choice(pictures("png"))
    if random.random() < 0.4:
        return ".png", damaged(content, random)
    chunks, at = [], 8
    while at < len(content):
        length = struct.unpack(">I", content[at : at + 4])[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(random.choice((1, 1, 2))):
        how = random.randrange(5)
        if how == 0:  # a header of any size, depth and color
            sizes = [random.choice((0, 1, 63, 64, SIDE, 20_000, 2**31 - 1, 2**32 - 1)) for _ in range(2)]
            rest = bytes(random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
            chunks[0] = (b"IHDR", struct.pack(">II", *sizes) + rest)
        elif how == 1:  # text that unpacks to much more
            bomb = _zeros("zlib", random.choice((10, 10**6, 5 * 10**7)))
            kind, head = random.choice(((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")))
            chunks.insert(random.randrange(1, len(chunks)), (kind, head + bomb))
        elif how == 2:
            bomb = _zeros("zlib", random.choice((0, 10, 10**7)))
            chunks = [(kind, bomb if kind == b"IDAT" else data) for kind, data in chunks]
        elif how == 3:
            random.shuffle(chunks)
        else:
            at = random.randrange(len(chunks))
            kind = random.choice((chunks[at][0], b"PLTE", b"tRNS", b"acTL", b"fcTL"))
            chunks[at] = (kind, damaged(chunks[at][1], random))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return ".png", content[:8] + body


def jpeg(random: Random) -> tuple[str, bytes]:
    """Another size in the frame's header, segments dropped or doubled; or damaged bytes."""
    content = bytearray(random.choice(pictures("jpeg")))
    frame = next((at for mark in (b"\xff\xc0", b"\xff\xc2") if (at := bytes(content).find(mark)) > 0), None)
    if frame is not None and random.random() < 0.5:
        sizes = [random.choice((0, 1, 64, SIDE, 9_999, 65_535)) for _ in range(2)]
        content[frame + 5 : frame + 9] = struct.pack(">HH", *sizes)
        content[frame + 9] = random.choice((1, 3, 4, 255))
        if random.random() < 0.6:
            return ".jpg", bytes(content)
    return ".jpg", damaged(bytes(content), random)


def tiff(random: Random) -> tuple[str, bytes]:
    """Entries of a directory with other counts, types and places; chains of pages that end nowhere."""
    content = bytearray(random.choice(pictures("tiff")))
    order = "<" if content[:2] == b"II" else ">"
    if content[2] == 43 or content[3] == 43 or random.random() < 0.3:
        return ".tif", damaged(bytes(content), random)
    at = struct.unpack(f"{order}I", content[4:8])[0]
    entries = struct.unpack(f"{order}H", content[at : at + 2])[0]
    for _ in range(random.choice((1, 1, 2, 3))):
        entry = at + 2 + 12 * random.randrange(entries)
        fields = ((entry, 2, "H"), (entry + 2, 2, "H"), (entry + 4, 4, "I"), (entry + 8, 4, "I"))
        place, length, code = random.choice(fields)
        number = random.choice(ODD_NUMBERS) & (0xFFFF if length == 2 else 0xFFFFFFFF)
        content[place : place + length] = struct.pack(order + code, number)
    if random.random() < 0.2:  # the next page is this one, or anywhere
        end = at + 2 + 12 * entries
        content[end : end + 4] = struct.pack(f"{order}I", random.choice((at, 0, 8, len(content) - 4, 2**32 - 1)))
    return ".tif", bytes(content)


# --- Archives, lists, configs ---------------------------------------------------------------------------------------

NAMES = (
    *("a.png", "A.PNG", "d/a.png", "d/b/c.dcm", "../up.png", "/root.png", "..\\w.png", "C:\\w.png", "d", "d/"),
    *("", ".", "a\0b", "é.png", "é.png", "x" * 300, "/".join("d" * 200), "-rf", "$(id)", "a\nb"),
)


def archive(random: Random) -> tuple[str, bytes]:
    """Members of every name, type and size, packed by either program; then perhaps damaged."""
    file = io.BytesIO()
    count = random.choice((0, 1, 2, 5))
    contents = (b"", pictures("png")[0], bytes(1 << 20), random.randbytes(100))
    if random.random() < 0.5:
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as packed:
            warnings.simplefilter("ignore")
            for _ in range(count):
                info = zipfile.ZipInfo(random.choice(NAMES) or "x")
                info.compress_type = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
                info.external_attr = random.choice((0, 0, 0o100644, 0o120777, 0o040755, 0o020666)) << 16
                packed.writestr(info, random.choice(contents))
        ending = ".zip"
    else:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1, format=random.choice((0, 1, 2))) as packed_tar:
            for _ in range(count):
                member = tarfile.TarInfo(random.choice(NAMES) or "x")
                member.type = random.choice((tarfile.REGTYPE,) * 4 + (b"1", b"2", b"3", b"6", b"5", b"S", b"x", b"L"))
                member.linkname = random.choice(NAMES)
                content = random.choice(contents)
                member.size = len(content)
                try:
                    packed_tar.addfile(member, io.BytesIO(content))
                except (ValueError, UnicodeError):  # a name that this kind of archive cannot hold
                    continue
        ending = random.choice((".tar.gz", ".tgz"))
    content = file.getvalue()
    return ending, damaged(content, random) if random.random() < 0.5 else content


def listing(random: Random) -> tuple[str, bytes]:
    """A list of files: columns mixed up, quotes left open, another encoding."""
    header = random.sample(("path", "file", "patient", "study", "series", "slice_index", "modality", "x"), k=4)
    words = (*NAMES, *ODD_WORDS, "ct", "xr", "3")
    rows = [[random.choice(words) for _ in header] for _ in range(random.choice((0, 1, 5)))]
    text = "\n".join(",".join(row) for row in ([header] if random.random() < 0.9 else []) + rows)
    content = text.encode(random.choice(("utf-8", "utf-8", "utf-16", "latin-1")), "replace")
    return random.choice((".csv", ".txt")), damaged(content, random) if content and random.random() < 0.4 else content


def _tree(random: Random, depth: int) -> Any:
    leaves = (None, True, 0, -1, 1e400, float("nan"), "", "x", "10:70", "2020-13-45", "!!python/name:os.system", [], {})
    if depth == 0 or random.random() < 0.5:
        return random.choice((*leaves, *ODD_NUMBERS, *ODD_WORDS))
    keys = random.choices(("path", "task", "limits", "max_pixels", "files", "ct", 1, None, "a b", "x"), k=3)
    if random.random() < 0.3:
        return [_tree(random, depth - 1) for _ in range(3)]
    return {key: _tree(random, depth - 1) for key in keys}


def config(random: Random) -> tuple[str, bytes]:
    """The project's own configs with values of another kind, unknown keys, references that grow; or damaged bytes."""
    file = random.choice(sorted((ROOT / "config").glob("*.yaml")))
    how = random.random()
    if how < 0.35:
        return ".yaml", damaged(file.read_bytes(), random)
    if how < 0.4:  # nine references to nine references ...
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, random.choice((3, 9)))]
        return ".yaml", "\n".join(lines).encode()
    if how < 0.45:
        deep = random.choice((10, 400, 3000))
        return ".yaml", f"cohorts: {'[' * deep}{']' * deep}".encode()
    from covidpipe.config import Config

    loaded = dict(_config(file))
    for _ in range(random.choice((1, 2, 3))):
        loaded[random.choice((*Config.model_fields, "x"))] = _tree(random, random.choice((0, 1, 3)))
    return ".yaml", yaml.dump(loaded, Dumper=yaml.CSafeDumper, allow_unicode=random.random() < 0.5).encode()


@cache
def _config(file: Path) -> dict[str, Any]:
    return yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader) or {}


# --- Tables and stores of our own -----------------------------------------------------------------------------------


@cache
def split_table() -> bytes:
    import tempfile

    from covidpipe.io.files import write_table
    from covidpipe.schemas import SPLIT

    rows = [{"image_id": f"i{n:03d}", "group": f"p{n % 7}", "fold": n % 7 % 4} for n in range(60)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "split.parquet"
        write_table(path, rows, SPLIT)
        return path.read_bytes()


def table(random: Random) -> tuple[str, bytes]:
    return ".parquet", damaged(split_table(), random)


def store(random: Random) -> tuple[str, bytes]:
    """A store as an archive of its files, one of which is damaged, cut, emptied or gone."""
    files = dict(store_files())
    name = random.choice(sorted(files))
    how = random.randrange(4)
    if how == 0:
        del files[name]
    else:
        files[name] = (b"", files[name][: random.randrange(len(files[name]))], damaged(files[name], random))[how - 1]
    return ".store", _packed(files)


def _packed(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        for path, content in files.items():
            made.writestr(path, content)
    return packed.getvalue()


def store_inputs() -> list[bytes]:
    """Each file of a store, behind a byte that says which: for a fuzzer that would only break the archive around it."""
    return [bytes([number]) + content for number, (_, content) in enumerate(store_files())]


def store_with(content: bytes) -> bytes:
    """The archive of a store, of whose files the one that the first byte names holds the others."""
    files = dict(store_files())
    name = sorted(files)[content[0] % len(files) if content else 0]
    return _packed(files | {name: content[1:]})


@cache
def store_files() -> tuple[tuple[str, bytes], ...]:
    import tempfile

    from covidpipe.io.store import write_store
    from covidpipe.schemas import STORE_INDEX

    sides = dict.fromkeys(("native_rows", "native_columns", "size", "height", "width"), 16)
    index = [
        {"n": n, "image_id": f"i{n}", "top": 0, "left": 0, **sides, "label": False, "has_lung_mask": True,
         "has_infection_mask": False}
        for n in range(6)
    ]  # fmt: skip
    images = stored_images()
    with tempfile.TemporaryDirectory() as folder:
        blocks = [{"image": images[k : k + 2], "lung_mask": images[k : k + 2] * 0} for k in (0, 2, 4)]
        arrays = dict.fromkeys(blocks[0], (16, 16))
        write_store(Path(folder) / "s", "images.zarr", index, STORE_INDEX, blocks, arrays, 6, 2)
        found = sorted(path for path in (Path(folder) / "s").rglob("*") if path.is_file())
        return tuple((str(path.relative_to(Path(folder) / "s")), path.read_bytes()) for path in found)


def stored_images() -> np.ndarray:
    """What `store_files` holds, uint8 (6, 16, 16); its masks are empty."""
    return np.random.default_rng(5).integers(1, 255, (6, 16, 16), dtype=np.uint8)


IMAGES: dict[str, Callable[[Random], tuple[str, bytes]]] = {
    "dicom": dicom, "nifti": nifti, "png": png, "jpeg": jpeg, "tiff": tiff,
}  # fmt: skip
OTHERS: dict[str, Callable[[Random], tuple[str, bytes]]] = {
    "archive": archive, "list": listing, "config": config, "table": table, "store": store,
}  # fmt: skip
