"""Does what is done once for a whole cohort grow in proportion to it? ``python -m tests.benchmarks.scale``.

The same number of images at once and in ten parts: ratios of one say that an image costs the same in either. That is
the end of ingest (identifiers, places, days, copies, the table) on rows without pixels, and the listing of a source's
files, by which Snakemake knows that images came or went. Then what an ingest costs of whose images a hundredth is new.
What planning costs: ``python -m tests.slurm.overhead``.

``python -m tests.benchmarks.scale 100000`` tells in seconds and memory what it costs to add a thousandth to so many
images that ingest and the cut into shards know: these are drawn up, not read.
"""

from __future__ import annotations

import functools
import hashlib
import os
import resource
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from covidpipe.config import Config, Limits, parse
from covidpipe.io.files import write_table
from covidpipe.io.known import Known
from covidpipe.io.rows import ENTRIES, Task, first_entries
from covidpipe.io.shards import cut
from covidpipe.io.sources import walk
from covidpipe.provenance import id_key
from covidpipe.records import ImageRecord
from covidpipe.schemas import IMAGES
from covidpipe.series import Row, count_days, flag_copies, identify, place
from covidpipe.stages import ingest
from covidpipe.workflow import listing, shards_of
from tests.benchmarks.timing import Ratio, paired

IMAGES_IN_ALL, PARTS, OF_A_SERIES = 5_000, 10, 100
KEY = bytes(32)
alone = functools.partial(paired, clock=time.process_time, n=3)


def row(number: int) -> Row:
    found = told(number)
    return ingest._Kept([found[name] for name in ENTRIES])


def told(number: int) -> dict[str, Any]:
    """A row as a worker gives it: a hundred slices a series."""
    series = number // OF_A_SERIES
    task = Task(Path(), ImageRecord(f"{series:06d}/{number:08d}.dcm", frame=None), None, None, Limits())
    content = hashlib.sha256(str(number).encode()).hexdigest()
    of_header = {
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
    return first_entries(task) | of_header


def finish(path: Path, first: int, number: int) -> None:
    rows = [row(first + n) for n in range(number)]
    identify(rows, KEY)
    place(rows)
    count_days(rows)
    flag_copies(rows)
    write_table(path, ingest._table(rows, KEY), IMAGES)


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (64, 64), np.uint8))
    os.utime(path, (1.6e9, 1.6e9))


def cohort(folder: Path) -> Config:
    return parse({"cohorts": {"c": {"path": str(folder), "modality": "ct"}}}, "here")


def again(scratch: Path, images: int) -> Ratio:
    """A first ingest of some images, and one of as many and a hundredth that is new."""
    folder, out = scratch / "in", scratch / "out" / "images.parquet"
    for number in range(images):
        picture(folder / f"{number}.png", number)
    new = iter(range(images, 100 * images))

    def first() -> None:
        (out.parent / "known.sealed").unlink(missing_ok=True)
        ingest.run(cohort(folder), "c", out)

    def grown() -> None:
        for _ in range(images // 100):
            number = next(new)
            picture(folder / f"{number}.png", number)
        ingest.run(cohort(folder), "c", out)

    return paired(f"ingest of {images:,} images with 1 % new / of all", grown, first, n=3)


def large(scratch: Path, images: int) -> None:
    """Print what an ingest costs that knows all images but a thousandth, and how many shards it makes anew."""
    folder, out = scratch / "in", scratch / "out" / "images.parquet"
    config = cohort(folder)
    source, key = config.source("c"), id_key()
    reading = ingest._reading(source, config.limits, sign=False)
    known = Known(out.with_name("known.sealed"), key)
    out.parent.mkdir()
    rows = []
    for number in range(images):
        found = told(number)
        path = folder / found["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1.6e9, 1.6e9))
        task = Task(folder, ImageRecord(found["path"], frame=None), "ct", None, config.limits)
        stamp = ingest._stamp(task, reading, time.time_ns())
        assert stamp is not None
        known.keep(stamp, [ingest._lasting(found)])
        rows.append(ingest._Kept([found[name] for name in ENTRIES]))
    known.flush()
    for work in (place, count_days, flag_copies):
        work(rows)
    identify(rows, key)
    began = time.perf_counter()
    finished = write_table(out, ingest._table(rows, key), IMAGES)
    cut(finished, out.with_name("shards.parquet"), config.shard_images)
    before = {shard.made for shard in shards_of(out, config.shard_images)}
    print(f"table and cut of {images:,} drawn-up images {time.perf_counter() - began:8.1f} s")
    del rows, finished
    for number in range(images // 1000):
        picture(folder / "new" / f"{number}.png", number)
    seconds = [-time.perf_counter(), -time.process_time()]
    ingest.run(config, "c", out)
    seconds = [seconds[0] + time.perf_counter(), seconds[1] + time.process_time()]
    new = [shard for shard in shards_of(out, config.shard_images) if shard.made not in before]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(
        f"{images // 1000:,} images more: {seconds[0]:.1f} s ({seconds[1]:.1f} s of this process), {peak:,.0f} MB at "
        f"most; beside {len(before)} shards {len(new)} new ones of {sum(shard.images for shard in new):,} images"
    )


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
            again(Path(scratch, "again"), 1_000),
        ]
    for one in rows:
        print(f"{one.what:<52} {one.speedup:8.2f} ({one.low:.2f} to {one.high:.2f}, n = {one.n})", flush=True)
    print(f"{1e6 * rows[0].ours_s / IMAGES_IN_ALL:.0f} us of processor time a row")
    return rows


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as scratch:
            large(Path(scratch), int(sys.argv[1]))
    else:
        main()
