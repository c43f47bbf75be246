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
import re
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covidpipe import paths
from covidpipe.config import Config, Limits, Source
from covidpipe.duplicates import views
from covidpipe.errors import BadInput, BadTable, CovidpipeError
from covidpipe.io.bounded import GIB, bound_memory, bounded_time
from covidpipe.io.files import file_sha256, read_table, write_json, write_table
from covidpipe.io.image import Facts, Image
from covidpipe.io.known import Known
from covidpipe.io.read import open_file, settle
from covidpipe.io.shards import cut
from covidpipe.io.sources import gather
from covidpipe.progress import track
from covidpipe.provenance import available_cores, code_fingerprint, id_key, keyed_hash, run_record
from covidpipe.records import ImageRecord
from covidpipe.registry import DATASETS
from covidpipe.schemas import IMAGES, REJECTED, SIGNATURES
from covidpipe.sealed import seal
from covidpipe.workflow import shards_table

log = logging.getLogger(__name__)

Row = MutableMapping[str, Any]

# What a row carries from a reader to the end of ingest, under names that no column has.
PLAIN = ("patient", "study", "series", "study_date", "instance", "stated_slice_spacing_mm", "views")
ENTRIES = (*IMAGES.names, *(name for name in PLAIN if name not in IMAGES.names))
PLACES = {name: place for place, name in enumerate(ENTRIES)}
VIEWS = ("whole", "content")
PIECE = 2**14  # rows that are plain Python once more on their way to the table
HANDED_OVER = 8  # files that a worker process is given at a time
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
SOURCES = {"position_mm": "position", "instance": "instance", "path": "file_order"}  # of a slice_index


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
    found_in = track(_in_parallel([tasks[number] for number in left]), len(left), "files")
    for number, told in zip(left, found_in, strict=True):
        if known is not None and number in stamp_of and not any(row["reason"] in MAY_PASS for row in told):
            known.keep(stamp_of[number], [_lasting(row) for row in told])
        found[number] = [_Kept([row[name] for name in ENTRIES]) for row in told]
    if known is not None:
        known.flush()
    rows = [row for some in found for row in some or ()]
    key = id_key()
    _identify(rows, key)
    _place(rows)
    _count_days(rows)
    _flag_copies(rows)
    _hash(rows, key)
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


@dataclass(frozen=True)
class Task:
    """One file to be read, and what is known of it."""

    root: Path
    record: ImageRecord
    modality: str | None
    intensity: str | None
    limits: Limits
    sign: bool = False


def read_rows(task: Task) -> list[dict[str, Any]]:
    """Rows of one file: one for each frame, or one alone if the whole file is refused."""
    try:
        return _read_rows(task)
    # The readers are fed with unknown bytes. What they do not foresee costs one file and is told in the log.
    except Exception as error:
        kind = type(error).__name__
        # Neither the path nor the error's own words, which may quote a header.
        log.warning("A file that no reader foresaw: %s in %s", kind, _where(error))
        return [
            _base(task)
            | _refused(
                BadInput("unreadable", f"Reading failed ({kind}); a whole file was expected: export it again."),
                task.limits,
                error,
            )
        ]


def _in_time(read: Callable[[Task], list[dict[str, Any]]], tasks: list[Task]) -> list[list[dict[str, Any]]]:
    """What `read` says of some files, in a worker process, which ends if one of them takes too long."""
    told = []
    for task in tasks:
        with bounded_time(task.limits.max_seconds):
            told.append(read(task))
    return told


def _where(error: Exception) -> str:
    """The last place of our own code that an error came through, for a report of the fault."""
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "covidpipe" in frame.filename]
    return f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "a library"


def _read_rows(task: Task) -> list[dict[str, Any]]:
    path = task.root / task.record.path
    rows: list[dict[str, Any]] = []
    base = _base(task)
    try:
        if path.is_file():
            _check_bytes(path.stat().st_size, task.limits)
            base["source_sha256"] = file_sha256(path)
        opened = open_file(path, task.limits)
    except OSError as error:
        refusal = BadInput("unreadable", f"The file cannot be read ({error.strerror}): check its permissions.")
        return [base | _refused(refusal)]
    except BadInput as refusal:
        return [base | _refused(refusal, task.limits)]
    wanted = range(opened.frames) if task.record.frame is None else [task.record.frame]
    try:
        opened.check()
        if task.record.frame is not None and task.record.frame >= opened.frames:
            raise BadInput(
                "unreadable",
                f"Frame {task.record.frame} is listed, but the file has {opened.frames} (from 0): correct the list.",
            )
    except BadInput as refusal:
        told = _told(opened.facts(0), task.record) if opened.frames else {}
        return [base | told | _refused(refusal, task.limits)]
    for frame in wanted:
        facts = opened.facts(frame)
        row = base | _told(facts, task.record) | {"frame": frame}
        if row["series"] is None and opened.frames > 1:
            row["series"] = row["source_sha256"]  # a volume is a series of its own
        try:
            array = opened.array(frame, task.intensity)
            row["rows"], row["columns"] = array.shape
            settled = settle(array, facts, task.modality, task.intensity)
        except BadInput as refusal:
            rows.append(row | _refused(refusal, task.limits))
            continue
        image = settled.image
        rows.append(
            row
            | {
                "modality": image.modality,
                "modality_source": settled.modality_source,
                "modality_confidence": settled.modality_confidence,
                "intensity": image.intensity,
                "pixel_sha256": _pixel_sha256(image.array),
                "views": _views(image) if task.sign else None,
                "accepted": True,
                "warnings": sorted({*facts.warnings, *settled.warnings}),
            }
        )
    if len(rows) > 1 and len({row["reason"] for row in rows}) == 1 and not rows[0]["accepted"]:
        return rows[:1]  # every frame is refused for the same reason: the file is
    return rows


def _check_bytes(size: int, limits: Limits) -> None:
    if size > limits.max_file_gib * GIB:
        raise BadInput(
            "too_large",
            f"A file of {size / GIB:,.1f} GiB; at most {limits.max_file_gib:g} are allowed: raise "
            "`limits.max_file_gib` if this is meant.",
        )


def _base(task: Task) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys((*IMAGES.names, *PLAIN))
    record = asdict(task.record)
    row.update({name: value for name, value in record.items() if name in row})
    row.update(frame=task.record.frame or 0, warnings=[], accepted=False, modality=None, intensity=None)
    row["patient"] = (task.record.patient,) if task.record.patient else ()
    return row


def _told(facts: Facts, record: ImageRecord) -> dict[str, Any]:
    """What a file says of itself, as row entries; a record's word comes first."""
    header = facts.modality is not None and facts.modality_confidence is None
    row_mm, column_mm = facts.spacing_mm or (None, None)
    return {
        "format": facts.format,
        "rows": facts.rows or None,
        "columns": facts.columns or None,
        "modality": facts.modality if header else None,
        "modality_source": "header" if header else None,
        "transfer_syntax": facts.transfer_syntax,
        "photometric": facts.photometric,
        "row_spacing_mm": row_mm,
        "column_spacing_mm": column_mm,
        "patient": (record.patient,) if record.patient else facts.patient,
        "study": record.study or facts.study,
        "series": record.series or facts.series,
        "position_mm": facts.position_mm,
        "instance": facts.instance,
        "orientation": facts.orientation,
        "study_date": facts.study_date,
        "stated_slice_spacing_mm": facts.slice_spacing_mm,
        "warnings": sorted(facts.warnings),
    }


def _refused(refusal: BadInput, limits: Limits | None = None, error: Exception | None = None) -> dict[str, Any]:
    """Entries of a refused row; what a reader gave up for want of memory is told as that."""
    causes: list[BaseException | None] = [error or refusal]
    while causes[-1] is not None:
        causes.append(causes[-1].__cause__)
    if limits is not None and any(isinstance(cause, MemoryError) for cause in causes):
        refusal = BadInput(
            "too_large",
            f"Reading the file took more than {limits.max_memory_gib:g} GiB of memory; a file that needs less was "
            "expected: raise `limits.max_memory_gib` if this is meant.",
        )
    return {"accepted": False, "reason": refusal.reason, "sentence": refusal.sentence}


def _pixel_sha256(array: Any) -> str:
    digest = hashlib.sha256(f"{array.shape}{array.dtype}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _views(image: Image) -> list[bytes]:
    assert image.intensity is not None, "an accepted image has an intensity"
    cv2.setNumThreads(1)  # the cores are taken by the other files
    return [thumbnail.tobytes() for thumbnail in views(image.array, image.intensity)]


def _signatures(row: Row) -> Iterator[dict[str, Any]]:
    """Rows of SIGNATURES."""
    for name, thumbnail in zip(VIEWS, row["views"] or (), strict=False):
        yield {"image_id": row["image_id"], "view": name, "thumbnail": thumbnail}


def _digest(words: Iterator[str]) -> str:
    return hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()


def _identify(rows: Sequence[Row], key: bytes) -> None:
    """Give every row its image_id: it depends on the bytes, not on where the folder lies."""
    copies: Counter[tuple[str, int]] = Counter()
    for row in rows:
        # A file without readable bytes has only its place to be known by.
        content = row["source_sha256"] or keyed_hash("path", row["path"], key=key)
        copy = copies[content, row["frame"]]
        copies[content, row["frame"]] += 1
        row["image_id"] = hashlib.sha256(f"{content}:{row['frame']}:{copy}".encode()).hexdigest()[:16]


def _place(rows: Sequence[Row]) -> None:
    """Give the images of a series their place: by position, else by the file's count, else in the order of the files.

    A list or a dataset goes before all three. Positions become those above the lowest image of the series.
    """
    series: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row["slice_index"] is not None:
            row["slice_index_source"] = "list"
        if row["modality"] != "ct" or row["series"] is None or row["reason"] == "not_axial":
            row["position_mm"] = None  # on another axis than the slices', or on none
        if row["modality"] == "ct" and row["series"] is not None:
            series[row["patient"], row["study"], row["series"]].append(row)
    for members in series.values():
        accepted = [row for row in members if row["accepted"]] or members
        listed = any(row["slice_index"] is not None for row in members)  # a list or a dataset says the order
        clues = ("position_mm", "instance")
        complete = [clue for clue in clues if all(row[clue] is not None for row in accepted)]
        if not complete and all(row[clue] is None for row in accepted for clue in clues):
            complete = ["path"]  # some positions and no others would be worse than none: then there is no order
        for clue in () if listed else complete[:1]:
            placed = [row for row in members if row[clue] is not None]
            placed.sort(key=lambda row: (_sortable(row[clue]), row["instance"] or 0, row["path"], row["frame"]))
            for index, row in enumerate(placed):
                row["slice_index"], row["slice_index_source"] = index, SOURCES[clue]
        places = sorted({round(row["position_mm"], 3) for row in members if row["position_mm"] is not None})
        measured = median(b - a for a, b in pairwise(places)) if len(places) > 1 else None
        for row in members:
            row["slice_spacing_mm"] = measured or row["stated_slice_spacing_mm"]
            if row["position_mm"] is not None:
                row["position_mm"] = round(row["position_mm"] - places[0], 3)


def _sortable(clue: float | str) -> Any:
    """Numbers as they are; names so that slice-10 follows slice-9."""
    if not isinstance(clue, str):
        return clue
    return [(word.isdigit(), int(word) if word.isdigit() else 0, word) for word in re.split(r"([0-9]+)", clue)]


def _count_days(rows: Sequence[Row]) -> None:
    """Give every study its days since the first one of its patient: of the dates nothing else leaves ingest."""
    days: dict[tuple[Any, Any], Any] = {}  # the first date of each study of each patient
    for row in rows:
        if row["patient"] and row["study_date"] is not None:
            key = row["patient"], row["study"]
            days[key] = min(row["study_date"], days.get(key, row["study_date"]))
    first: dict[Any, Any] = {}
    for (patient, _), day in days.items():
        first[patient] = min(day, first.get(patient, day))
    for row in rows:
        day = days.get((row["patient"], row["study"]))
        row["study_day"] = None if day is None else (day - first[row["patient"]]).days


def _flag_copies(rows: Sequence[Row]) -> None:
    times = Counter(row["pixel_sha256"] for row in rows if row["accepted"])
    for row in rows:
        if times[row["pixel_sha256"]] > 1:
            row["warnings"] = sorted({*row["warnings"], "duplicate"})


def _hash(rows: Sequence[Row], key: bytes) -> None:
    """Give every row the hashes of its identifiers: of the header nothing else is written."""
    hashed = functools.cache(functools.partial(keyed_hash, key=key))  # images of a series have the same
    for row in rows:
        row["patient_id"] = hashed("patient", *row["patient"]) if row["patient"] else None
        for kind in ("study", "series"):
            row[f"{kind}_id"] = hashed(kind, row[kind]) if row[kind] else None


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


def _in_parallel(tasks: list[Task]) -> Iterator[list[dict[str, Any]]]:
    """Read every file in worker processes; results come in the order of `tasks`.

    The decoders are native code fed with unknown bytes. If one takes its process down, the files that were being read
    are tried again one by one, each in a process of its own; the culprit becomes a row, the others go on.
    """
    workers = max(1, min(available_cores(), len(tasks)))
    # Handing over a file costs a tenth of reading it; more than a few at a time, and a crash makes many suspects.
    size = max(1, min(HANDED_OVER, len(tasks) // (4 * workers)))
    done: dict[int, list[dict[str, Any]]] = {}
    waiting = [range(start, min(start + size, len(tasks))) for start in range(0, len(tasks), size)][::-1]
    given = 0
    while waiting:
        suspects: set[int] = set()
        with _pool(workers, tasks[0].limits) as pool:
            running: dict[Future, range] = {}
            while (waiting or running) and not suspects:
                handed = range(0)
                try:
                    while waiting and len(running) < 2 * workers:
                        handed = waiting.pop()
                        running[pool.submit(_in_time, read_rows, [tasks[index] for index in handed])] = handed
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        done.update(zip(running[future], future.result(), strict=True))
                        del running[future]
                except BrokenProcessPool:  # told by a result, or by the next files handed in
                    suspects = {index for some in (*running.values(), handed) for index in some} - set(done)
                while given in done:
                    yield done.pop(given)
                    given += 1
        for index in sorted(suspects):
            done[index] = _read_alone(tasks[index])
    while given in done:
        yield done.pop(given)
        given += 1


def _pool(workers: int, limits: Limits) -> ProcessPoolExecutor:
    # A plain fork of a process with threads (Arrow, TensorFlow) may hang, and a spawned one imports for seconds: the
    # workers are forked from a clean server that has the readers imported and nothing else running.
    context = get_context("forkserver")
    context.set_forkserver_preload(["covidpipe.stages.ingest", "covidpipe.io.dicom", "covidpipe.io.raster"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=bound_memory, initargs=(limits.max_memory_gib,))


def _read_alone(task: Task) -> list[dict[str, Any]]:
    with _pool(1, task.limits) as pool:
        try:
            pool.submit(int).result()
        except BrokenProcessPool:  # not the file's fault: without this, every file would be called unreadable
            raise CovidpipeError(
                "Worker processes cannot be started. Wanted: enough memory, and a main module that can be imported "
                "(a script from standard input cannot)."
            ) from None
        try:
            began = time.monotonic()
            return pool.submit(_in_time, read_rows, [task]).result()[0]
        except BrokenProcessPool:
            refusal = BadInput(
                "unreadable",
                "Decoding the file ended its process; a whole, standard file was expected: export it again, "
                "uncompressed if possible.",
            )
            if time.monotonic() - began >= task.limits.max_seconds:
                refusal = BadInput(
                    "too_large",
                    f"Reading the file took more than {task.limits.max_seconds:g} s; a file that is read in less was "
                    "expected: raise `limits.max_seconds` if this is meant.",
                )
            return [_base(task) | _refused(refusal)]
