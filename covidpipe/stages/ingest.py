"""Ingest: a folder, archive, list or dataset in; one row for every file or frame seen, accepted or not, out.

Labelled images are also reduced to thumbnails here, where their pixels are decoded anyway: by these copies are found.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from covidpipe import paths
from covidpipe.config import Config, Limits, Source
from covidpipe.errors import BadTable
from covidpipe.io.files import read_table, write_json, write_table
from covidpipe.io.known import Known
from covidpipe.io.parallel import read_in_parallel
from covidpipe.io.rows import ENTRIES, Task
from covidpipe.io.shards import cut
from covidpipe.io.sources import gather
from covidpipe.progress import track
from covidpipe.provenance import code_fingerprint, id_key, run_record
from covidpipe.records import ImageRecord
from covidpipe.registry import DATASETS
from covidpipe.schemas import IMAGES, REJECTED, SIGNATURES
from covidpipe.sealed import seal
from covidpipe.series import Row, count_days, flag_copies, hash_identifiers, identify, place
from covidpipe.workflow import shards_table

log = logging.getLogger(__name__)

PLACES = {name: number for number, name in enumerate(ENTRIES)}
VIEWS = ("whole", "content")
PIECE = 2**14  # rows that are plain Python once more on their way to the table
REVIVE: dict[str, Callable[[Any], Any]] = {
    "patient": tuple,
    "study_date": date.fromisoformat,
    "views": lambda shown: [base64.b64decode(thumbnail) for thumbnail in shown],
}
PATHS = ("path", "lung_mask_path", "infection_mask_path")
# What decides beside our own code what is read of a file.
DECODERS = (
    *("imagecodecs", "nibabel", "numpy", "opencv-python-headless", "pillow", "pydicom", "pyjpegls"),
    *("pylibjpeg-openjpeg", "python-gdcm", "tifffile"),
)
MAY_PASS = {"unreadable", "too_large"}  # reasons that may lie in the machine: these files are tried each time
SETTLED_NS = 2 * 10**9  # the coarsest clock of a file system: what changed later than that may change unseen


def run(config: Config, name: str, out: Path) -> None:
    """Write ``images.parquet`` (IMAGES) to `out`, and beside it SIGNATURES, SHARDS and ``run.json``.

    What was found in each file is kept in ``known.sealed`` beside them: files that stayed as they were are not opened
    again, and the tables are the same, byte for byte, as if they were. Only which shard an image is in is a matter of
    earlier runs (`covidpipe.io.shards`).

    Parameters
    ----------
    config : Config
    name : str
        A cohort of the config, or a declared dataset. Only images laid out as a dataset are trained or judged on, and
        so only they have signatures.
    out : Path

    Raises
    ------
    BadConfig
        The source does not exist, or is an archive or list that cannot be read.
    """
    started = time.time()
    source = config.source(name)
    root, records = records_of(config, source, name, out.parent / "unpacked")
    if source.modality is None and source.dataset is not None:
        source = source.model_copy(update={"modality": DATASETS[source.dataset].modality})
    key = id_key()
    known = Known(out.parent / "known.sealed", key)
    rows, opened = _read(root, records, source, config.limits, known, sign=source.dataset is not None)
    write_table(out.parent / "signatures.parquet", [view for row in rows for view in _signatures(row)], SIGNATURES)
    reasons = Counter(row["reason"] or "accepted" for row in rows)
    digest = _digest(row["source_sha256"] or "" for row in rows)
    table = write_table(out, _table(rows, key), IMAGES)
    cut(table, shards_table(out), config.shard_images, lost(config, name, table))
    seconds = time.time() - started
    log.info(
        "%s: %d images in %.1f s, %d of %d files read: %s",
        name,
        len(table),
        seconds,
        opened,
        len(records),
        dict(reasons),
    )
    write_json(
        out.parent / "run.json",
        run_record(
            "ingest",
            seed=config.seed,
            started=started,
            name=name,
            source=source.model_dump(),
            limits=config.limits.model_dump(),
            rows=table.num_rows,
            files={"seen": len(records), "read": opened},
            counts=dict(sorted(reasons.items())),
            sources_sha256=digest,
        ),
    )


def lost(config: Config, name: str, images: pa.Table) -> pa.Array:
    """Images that are accepted, but could no longer be read when they were last quantified: they are tried again."""
    told = pa.array([], pa.string())
    if name in config.cohorts:
        with contextlib.suppress(BadTable):  # there is none yet
            rejected = read_table(paths.cohort(config, name) / "rejected.parquet", REJECTED)
            told = rejected["image_id"].combine_chunks()
    return told.filter(pc.is_in(told, value_set=images.filter(images["accepted"])["image_id"].combine_chunks()))


def inspect(
    path: Path, modality: str | None = None, intensity: str | None = None, limits: Limits | None = None
) -> list[dict[str, Any]]:
    """Rows that ingest would write for a file or a folder, as dicts of IMAGES' columns; nothing is written.

    Archives are not opened: unpack them, or ingest them as a cohort.
    """
    source = Source.model_validate({"path": str(path), "modality": modality, "intensity": intensity})
    root, records = gather(path, None, limits or Limits())
    return ingest(root, records, source, limits or Limits())


def records_of(config: Config, source: Source, name: str, unpacked: Path) -> tuple[Path, list[ImageRecord]]:
    """The folder that a source's paths are relative to, and its images."""
    root = config.source_root(name)
    if source.dataset is None:
        return gather(root, unpacked, config.limits)
    parser = importlib.import_module(DATASETS[source.dataset].module)
    return root, parser.records(root)


def ingest(root: Path, records: list[ImageRecord], source: Source, limits: Limits) -> list[dict[str, Any]]:
    """Rows of the image table, sorted by path and frame.

    Parameters
    ----------
    root : Path
    records : list of ImageRecord
    source : Source
        Declares modality and intensity where a record does not.
    limits : Limits
    """
    names = IMAGES.names
    rows, _ = _read(root, records, source, limits, None, sign=False)
    return [{name: row[name] for name in names} for row in rows]


def _read(
    root: Path, records: list[ImageRecord], source: Source, limits: Limits, known: Known | None, *, sign: bool
) -> tuple[list[_Kept], int]:
    """Rows as they are within ingest, with thumbnails if they are to be signed, and how many files were opened."""
    tasks = [
        Task(root, record, record.modality or source.modality, record.intensity or source.intensity, limits, sign)
        for record in sorted(records, key=lambda record: (record.path, record.frame or 0))
    ]
    found: list[list[_Kept] | None] = [None] * len(tasks)
    stamps: dict[str, int] = {}
    if known is not None:
        began = time.time_ns()
        reading = _reading(source, limits, sign=sign)
        for number, task in enumerate(tasks):
            stamp = _stamp(task, reading, began)
            if stamp is not None:
                stamps[stamp] = number
        for number, rows in known.recall(stamps):
            found[number] = [_Kept(_revived(row)) for row in rows]
    left = [number for number, rows in enumerate(found) if rows is None]
    stamp_of = {number: stamp for stamp, number in stamps.items()}
    found_in = track(read_in_parallel([tasks[number] for number in left]), len(left), "files")
    for number, told in zip(left, found_in, strict=True):
        if known is not None and number in stamp_of and not any(row["reason"] in MAY_PASS for row in told):
            known.keep(stamp_of[number], [_lasting(row) for row in told])
        found[number] = [_Kept([row[name] for name in ENTRIES]) for row in told]
    if known is not None:
        known.flush()
    rows = [row for some in found for row in some or ()]
    key = id_key()
    identify(rows, key)
    place(rows)
    count_days(rows)
    flag_copies(rows)
    hash_identifiers(rows, key)
    return rows, len(left)


def _reading(source: Source, limits: Limits, *, sign: bool) -> str:
    """All that decides what is found in a file beside the file itself and its record."""
    of_dataset = [] if source.dataset is None else [DATASETS[source.dataset].module]
    decoders = [f"{name} {importlib.metadata.version(name)}" for name in DECODERS]
    return repr((code_fingerprint("ingest", *of_dataset), decoders, limits, sign, ENTRIES))


def _stamp(task: Task, reading: str, now_ns: int) -> str | None:
    """Words that move when a file, or how it is read, does; None for a file that could change without their moving.

    Times alone would not do: slices of one scanner have one size, and those that were copied together one time.
    """
    try:
        stat = (task.root / task.record.path).stat()
    except (OSError, ValueError):
        return None
    if stat.st_mtime_ns > now_ns - SETTLED_NS:
        return None
    told = (task.record, task.modality, task.intensity, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return hashlib.sha256(f"{reading}{told!r}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _lasting(row: dict[str, Any]) -> list[Any]:
    """A row as it is kept: its entries, in words of JSON."""
    day, shown = row["study_date"], row["views"]
    told = row | {
        "study_date": day and day.isoformat(),
        "views": shown and [base64.b64encode(thumbnail).decode() for thumbnail in shown],
    }
    return [told[name] for name in ENTRIES]


def _revived(entries: list[Any]) -> list[Any]:
    """The entries of a row that was kept."""
    for name, revive in REVIVE.items():
        if entries[PLACES[name]] is not None:
            entries[PLACES[name]] = revive(entries[PLACES[name]])
    return entries


class _Kept(MutableMapping[str, Any]):
    """A row's entries in a list: a dict of as many takes five times the memory, and there may be millions."""

    __slots__ = ("entries",)

    def __init__(self, entries: list[Any]):
        self.entries = entries

    def __getitem__(self, name: str) -> Any:
        return self.entries[PLACES[name]]

    def __setitem__(self, name: str, value: Any) -> None:
        self.entries[PLACES[name]] = value

    def __delitem__(self, name: str) -> None:
        raise TypeError("a row has all its entries, always")

    def __iter__(self) -> Iterator[str]:
        return iter(ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)


def _signatures(row: Row) -> Iterator[dict[str, Any]]:
    """Rows of SIGNATURES."""
    for name, thumbnail in zip(VIEWS, row["views"] or (), strict=False):
        yield {"image_id": row["image_id"], "view": name, "thumbnail": thumbnail}


def _digest(words: Iterator[str]) -> str:
    return hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()


def _table(rows: list[_Kept], key: bytes) -> pa.Table:
    """The rows as they are written, with sealed paths; each is given up once it is taken: millions do not fit twice."""
    rows.reverse()
    schema = IMAGES.schema
    pieces = [schema.empty_table()]
    sealed = functools.lru_cache(PIECE)(functools.partial(seal, key=key))  # slices of a volume share a path
    while rows:
        some = [rows.pop().entries for _ in range(min(PIECE, len(rows)))]
        columns = dict(zip(ENTRIES, zip(*some, strict=True), strict=True))
        for name in PATHS:
            columns[name] = tuple(path and sealed(path) for path in columns[name])
        pieces.append(pa.table({name: columns[name] for name in schema.names}, schema))
    return pa.concat_tables(pieces)
