"""What becomes of a damaged file: a row, a clear error, or a fault of ours; in worker processes, as ingest has them."""

from __future__ import annotations

import io
import os
import shutil
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, fields
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from covidpipe.config import Limits, Source, load
from covidpipe.errors import CovidpipeError
from covidpipe.io.bounded import bound_memory, bounded_time
from covidpipe.schemas import REASONS
from tests.fuzz import makers
from tests.memory import high_water

# As a cautious site would set them; a file of ours is some kilobytes.
LIMITS = Limits(
    max_pixels=4_000_000, max_frames=500, max_unpacked_gib=0.05, max_unpacked_files=100, max_file_gib=0.1,
    max_memory_gib=1.0, max_seconds=20,
)  # fmt: skip
IN_MEMORY = Path("/dev/shm")  # each file is there for seconds, and a disk would be asked to keep it
ROOM = 4 << 30  # bytes that a batch and what its archives unpack to stay below
FORESEEN = "Reading failed ("  # a row all the same, but what no reader foresaw
CRASHED, SLOW = "Decoding the file ended its process", "Reading the file took more than"


@dataclass
class Count:
    """What was seen: files by kind, rows, outcomes by code, and everything that must not be.

    `answered` counts the files that became a row or more, an error in words included: it must be that of all files.
    """

    files: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    rows: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    unforeseen: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    peak_bytes: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return not (self.crashes or self.hangs or self.faults) and self.answered == self.files.total()

    @classmethod
    def of(cls, told: dict[str, Any]) -> Count:
        """A count from its `vars`, as a JSON file holds them."""
        kept = {item.name: told[item.name] for item in fields(cls)}
        counters = {name: Counter(value) for name, value in kept.items() if isinstance(value, dict)}
        return cls(**kept | counters)


def memory_folder() -> Path | None:
    """Where files are best made; None: where temporary files are."""
    return IN_MEMORY if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM else None


def make(kind: str, seed: int, number: int) -> tuple[str, bytes]:
    """File `number` of a kind: the same for the same seed."""
    maker = makers.IMAGES.get(kind) or makers.OTHERS[kind]
    return maker(Random(f"{seed}:{kind}:{number}"))


def read_images(folder: Path, count: Count, limits: Limits = LIMITS) -> list[dict]:
    """Ingest a folder of damaged images, count what became of them, and return the rows."""
    from covidpipe.io.sources import gather
    from covidpipe.stages.ingest import ingest

    root, records = gather(folder, None, limits)
    try:
        rows = ingest(root, records, Source.model_validate({"path": str(folder)}), limits)
    except Exception as error:  # this is what must never be
        count.faults.append(f"{folder.name}: {type(error).__name__}: {error}")
        return []
    count.rows += len(rows)
    seen = {row["path"] for row in rows}
    count.answered += sum(record.path in seen for record in records)
    count.faults += [f"{record.path}: no row" for record in records if record.path not in seen]
    for row in rows:
        code = row["reason"] or "accepted"
        count.codes[code] += 1
        if row["accepted"] == (row["reason"] is not None) or (row["reason"] or "blank") not in REASONS:
            count.faults.append(f"{row['path']}: neither accepted nor refused: {row['reason']}")
        sentence = row["sentence"] or ""
        if sentence.startswith(FORESEEN):
            count.unforeseen.append(f"{row['path']}: {sentence[len(FORESEEN) :].split(')')[0]}")
        if sentence.startswith(CRASHED):
            count.crashes.append(row["path"])
        if sentence.startswith(SLOW) and " s;" in sentence:
            count.hangs.append(row["path"])
    return rows


def outcome(kind: str, path: Path) -> str:
    """Read one file that is no image; ``ok``, or the name of the error that tells a user what is wrong."""
    readers = {"archive": _archive, "list": _list, "config": load, "table": _table, "store": _store}
    try:
        readers[kind](path)
    except CovidpipeError as error:
        assert len(str(error)) < 100_000, "an error that nobody can read"
        return type(error).__name__
    return "ok"


def _archive(path: Path) -> None:
    from covidpipe.io.sources import gather

    target = path.with_name(f"{path.name}.unpacked")
    try:
        gather(path, target, LIMITS)
    finally:
        assert not [p for p in path.parent.iterdir() if p.name.endswith(".partial")], "left behind"
    assert not any(path.is_symlink() for path in target.rglob("*"))  # and so all of it lies below
    assert not (path.parent / "up.png").exists() and not Path("/root.png").exists()


def _list(path: Path) -> None:
    from covidpipe.io.sources import read_list

    read_list(path)


def _table(path: Path) -> None:
    """A damaged table is refused, or is the whole one: what was damaged then was no part of a row."""
    from covidpipe.io.files import read_table
    from covidpipe.schemas import SPLIT

    assert read_table(path, SPLIT).to_pylist() == _rows(), "a wrong table was read"


@cache
def _rows() -> list[dict]:
    return pq.read_table(io.BytesIO(makers.split_table())).to_pylist()


def _store(path: Path) -> None:
    """A damaged store is refused when it is opened or read, or holds what was written."""
    from covidpipe.io.store import open_store

    folder = path.with_name(f"{path.name}.unpacked")
    with zipfile.ZipFile(path) as packed:
        packed.extractall(folder)
    store = open_store(folder)
    images, masks = (store.read(name, range(6)) for name in ("image", "lung_mask"))
    assert np.array_equal(images, makers.stored_images()) and not masks.any(), "wrong pixels were read"


def read_others(files: list[tuple[str, Path]], count: Count) -> None:
    """`outcome` of each file, of any kind, in a worker process with ingest's bounds."""
    waiting = list(files)
    while waiting:
        with _pool() as pool:
            try:
                while waiting:
                    kind, path = waiting[-1]
                    began = time.monotonic()
                    code = pool.submit(_bounded_outcome, kind, path).result()
                    if code.startswith("!"):
                        count.faults.append(f"{path.name}: {code[1:]}")
                    count.codes[f"{kind}: {code.lstrip('!').split(':')[0]}"] += 1
                    count.rows += 1
                    count.answered += 1
                    waiting.pop()
            except BrokenProcessPool:
                slow = time.monotonic() - began >= LIMITS.max_seconds
                (count.hangs if slow else count.crashes).append(waiting.pop()[1].name)


def _pool() -> ProcessPoolExecutor:
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.fuzz.reading", "covidpipe.io.parallel", "covidpipe.io.store"])
    return ProcessPoolExecutor(1, mp_context=context, initializer=bound)


def bound() -> None:
    """Give this process the memory that a worker of ingest has."""
    pa.array(["x"])  # Arrow takes a GiB of addresses at its first word, and none of that is the file's
    bound_memory(LIMITS.max_memory_gib)


def _bounded_outcome(kind: str, path: Path) -> str:
    with bounded_time(LIMITS.max_seconds):
        try:
            return outcome(kind, path)
        except BaseException as error:  # a traceback, where a user would run it
            return f"!{type(error).__name__}: {error}"[:2000]


class PeakMemory(threading.Thread):
    """The most memory that any process below this one ever held, in bytes, as the kernel counts it (VmHWM)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            for pid in _descendants(os.getpid()):
                self.bytes = max(self.bytes, high_water(pid))

    def __enter__(self) -> PeakMemory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _descendants(child)
