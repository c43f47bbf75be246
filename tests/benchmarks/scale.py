"""Does what is done once for a whole cohort grow in proportion to it? ``python -m tests.benchmarks.scale``.

The same number of images at once and in ten parts: ratios of one say that an image costs the same in either. That is
the end of ingest (identifiers, places, days, copies, the table) on rows without pixels, and the listing of a source's
files, by which Snakemake knows that images came or went. What planning costs: ``python -m tests.slurm.overhead``.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
import time
from datetime import date
from pathlib import Path

from covidpipe.config import Limits
from covidpipe.io.files import write_table
from covidpipe.io.sources import walk
from covidpipe.records import ImageRecord
from covidpipe.schemas import IMAGES
from covidpipe.stages import ingest
from covidpipe.workflow import listing
from tests.benchmarks.timing import Ratio, paired

IMAGES_IN_ALL, PARTS, OF_A_SERIES = 5_000, 10, 100
KEY = bytes(32)
alone = functools.partial(paired, clock=time.process_time, n=3)


def row(number: int) -> ingest.Row:
    """As a worker gives it: a hundred slices a series."""
    series = number // OF_A_SERIES
    task = ingest.Task(Path(), ImageRecord(f"{series:06d}/{number:08d}.dcm", frame=None), None, None, Limits())
    content = hashlib.sha256(str(number).encode()).hexdigest()
    told = {
        "source_sha256": content,
        "pixel_sha256": content[::-1],
        "accepted": True,
        "format": "dicom",
        "rows": 512,
        "columns": 512,
        "modality": "ct",
        "modality_source": "header",
        "intensity": "hounsfield",
        "patient": (f"P{series}",),
        "study": f"1.2.{series}",
        "series": f"1.2.3.{series}",
        "study_date": date(2020, 3, 1),
        "position_mm": float(number % OF_A_SERIES),
        "instance": number % OF_A_SERIES,
    }
    entries = ingest._base(task) | told
    return ingest._Kept([entries[name] for name in ingest.ENTRIES])


def finish(path: Path, first: int, number: int) -> None:
    rows = [row(first + n) for n in range(number)]
    ingest._identify(rows, KEY)
    ingest._place(rows)
    ingest._count_days(rows)
    ingest._flag_copies(rows)
    write_table(path, ingest._table(rows, KEY), IMAGES)


def main() -> list[Ratio]:
    part = IMAGES_IN_ALL // PARTS
    with tempfile.TemporaryDirectory() as scratch:
        folder, table = Path(scratch, "files"), Path(scratch, "images.parquet")
        for number in range(IMAGES_IN_ALL // 2):
            file = folder / f"{number // part}" / f"{number // OF_A_SERIES}" / f"{number}.dcm"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        parts = sorted(folder.iterdir())

        def in_parts() -> None:
            for first in range(0, IMAGES_IN_ALL, part):
                finish(table, first, part)

        rows = [
            alone(
                f"table of {IMAGES_IN_ALL:,} images / {PARTS} tables of {part:,}",
                lambda: finish(table, 0, IMAGES_IN_ALL),
                in_parts,
            ),
            alone(
                f"listing of {IMAGES_IN_ALL // 2:,} files / folder by folder",
                lambda: listing(folder),
                lambda: [listing(one) for one in parts],
            ),
            alone("walk of the same files / their listing", lambda: walk(folder), lambda: listing(folder)),
        ]
    for one in rows:
        print(f"{one.what:<52} {one.speedup:8.2f} ({one.low:.2f} to {one.high:.2f}, n = {one.n})", flush=True)
    print(f"{1e6 * rows[0].ours_s / IMAGES_IN_ALL:.0f} us of processor time a row")
    return rows


if __name__ == "__main__":
    main()
