"""Reading against the plainest code, and against the bytes alone.

``python -m tests.benchmarks.reading``. DICOM files of 512 x 512 are made here: uncompressed, and in every transfer
syntax that has a faster decoder than pydicom's own. Decoding and resizing on one core; ingest with all its checks,
hashes and worker processes against ``pydicom.dcmread(...).pixel_array`` in one process, and against reading and hashing
the bytes.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.pixels import pixel_array
from skimage.transform import resize

from covidpipe.config import Limits, Source
from covidpipe.harmonize import rescale
from covidpipe.io.dicom import FAST, Dicom
from covidpipe.records import ImageRecord
from covidpipe.stages.ingest import ingest
from tests.benchmarks.encoded import stored_slice, write_dicom
from tests.benchmarks.timing import Ratio, paired, told

SIDE, FILES = 512, 2000  # of ingest: so many that starting its workers is a small part
INGEST = f"ingest of {FILES:,} files / pydicom on one core"
alone = functools.partial(paired, clock=time.process_time)


def decoding(folder: Path) -> list[Ratio]:
    rows = []
    for syntax in FAST:
        pixels = stored_slice(SIDE, "u1", 8) if syntax.endswith(".50") else stored_slice(SIDE, "i2", 16)
        path = write_dicom(folder / f"{syntax}.dcm", pixels, syntax)
        ours, theirs = Dicom(path, Limits()), pydicom.dcmread(path)
        name = f"JPEG or JPEG-LS, 1.2.840.10008.1.2.4.{syntax.split('.')[-1]}"
        rows.append(
            alone(
                f"decode {name} / pydicom", lambda o=ours: o._decode(0), lambda t=theirs: pixel_array(t, index=0), n=9
            )
        )
    return rows


def resizing() -> list[Ratio]:
    image = stored_slice(SIDE, "i2", 12).astype(np.float32)
    plain = functools.partial(resize, image, (304, 304), order=1, mode="reflect", anti_aliasing=True)
    return [alone("resize 512 to 304 / scikit-image", lambda: rescale(image, 304, 304), plain, n=9)]


def files(folder: Path) -> list[Ratio]:
    paths = [write_dicom(folder / f"{n}.dcm", stored_slice(SIDE, "u2", 12, n)) for n in range(8)]
    records = [ImageRecord(paths[n % len(paths)].name, frame=None) for n in range(FILES)]

    def ours() -> None:
        assert all(row["accepted"] for row in ingest(folder, records, Source(path=str(folder)), Limits()))

    def plain() -> None:
        for record in records:
            _ = pydicom.dcmread(folder / record.path).pixel_array

    def bytes_alone() -> None:
        for record in records:
            hashlib.sha256((folder / record.path).read_bytes()).hexdigest()

    rows = [paired(INGEST, ours, plain, n=3), paired("the same ingest / read and hash", ours, bytes_alone, n=3)]
    print(f"ingest: {FILES / rows[0].ours_s:.0f} images/s; pydicom alone {FILES / rows[0].plain_s:.0f}", flush=True)
    return rows


def main() -> list[Ratio]:
    cv2.setNumThreads(1)
    warnings.filterwarnings("ignore", module="pydicom")
    with tempfile.TemporaryDirectory() as scratch:
        parts = (lambda: decoding(Path(scratch)), resizing, lambda: files(Path(scratch)))
        return told(row for part in parts for row in part())


if __name__ == "__main__":
    main()
