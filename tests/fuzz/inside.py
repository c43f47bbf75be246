"""The process that libFuzzer has to itself; `tests.fuzz.guided` starts it with a kind of file and the options."""

from __future__ import annotations

import os
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import atheris

# Whose branches are counted. Decoders in C are not: they are met by what leads to them. YAML's scanner would take most
# of the time.
COUNTED = (
    *("covidpipe", "pydicom", "nibabel", "tifffile", "zipfile", "tarfile"),
    *("PIL.PngImagePlugin", "PIL.JpegImagePlugin", "PIL.TiffImagePlugin"),
)
with atheris.instrument_imports(include=list(COUNTED), enable_loader_override=False):
    from covidpipe.io import archive, dicom, nifti, raster, rows, sources, store  # noqa: F401  what readers import when asked
    from covidpipe.records import ImageRecord
    from tests.fuzz import makers, reading
ENDINGS = {
    "dicom": ".dcm", "nifti": ".nii", "png": ".png", "jpeg": ".jpg", "tiff": ".tif", "list": ".csv",
    "config": ".yaml", "table": ".parquet", "store": ".store",
}  # fmt: skip


def main() -> None:
    kind, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="guided-", dir=reading.memory_folder()) as folder:
        os.environ["COVIDPIPE_ID_KEY"] = str(Path(folder) / "id.key")
        atheris.Setup([sys.argv[0], *options], reader(kind, Path(folder)), custom_mutator=mutator(kind))
        reading.bound()
        atheris.Fuzz()


def reader(kind: str, folder: Path) -> Callable[[bytes], None]:
    """A function that reads bytes as a kind of file, and raises what a user would see as a traceback."""

    def read(content: bytes) -> None:
        ending = ENDINGS.get(kind) or (".zip" if content[:2] == b"PK" else ".tar.gz")
        path = folder / f"file{'.nii.gz' if kind == 'nifti' and content[:2] == GZIP else ending}"
        path.write_bytes(makers.store_with(content) if kind == "store" else content)
        try:
            if kind in makers.IMAGES:
                rows.rows_of(rows.Task(folder, ImageRecord(path.name, frame=None), None, None, reading.LIMITS))
            else:
                reading.outcome(kind, path)
        except MemoryError:  # a row, where a worker reads: the bound is met
            pass
        finally:
            path.unlink(missing_ok=True)
            shutil.rmtree(f"{path}.unpacked", ignore_errors=True)

    return read


GZIP = b"\x1f\x8b"


def mutator(kind: str) -> Callable[[bytes, int, int], bytes]:
    """What changes an input: libFuzzer itself, or ours; checksums that a decoder asks for first are put right."""

    def change(content: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        # looked up at each call: Setup puts another function there
        changed = atheris.Mutate(content, most) if random.random() < 0.6 else makers.damaged(content, random)[:most]
        return checked(changed)[:most] if kind == "png" and random.random() < 0.9 else changed

    return change


def checked(png: bytes) -> bytes:
    """A PNG whose chunks have the checksums of their bytes, as far as its chunks can be followed."""
    at, pieces = 8, [png[:8]]
    while at + 12 <= len(png):
        length = struct.unpack(">I", png[at : at + 4])[0]
        body = png[at + 4 : at + 8 + length]
        if len(body) < 4 + length:
            break
        pieces.append(struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join(pieces) + png[at:]


if __name__ == "__main__":
    main()
