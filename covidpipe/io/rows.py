"""One file to its rows: one for each frame, accepted or with the reason why not."""

from __future__ import annotations

import hashlib
import logging
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from covidpipe.config import Limits
from covidpipe.duplicates import views
from covidpipe.errors import BadInput
from covidpipe.io.bounded import GIB
from covidpipe.io.files import file_sha256
from covidpipe.io.image import Facts, Image
from covidpipe.io.read import open_file, settle
from covidpipe.records import ImageRecord
from covidpipe.schemas import IMAGES

log = logging.getLogger(__name__)

# What a row carries from here to the end of ingest, under names that no column has.
PLAIN = ("patient", "study", "series", "study_date", "instance", "stated_slice_spacing_mm", "views")
ENTRIES = (*IMAGES.names, *PLAIN)


@dataclass(frozen=True)
class Task:
    """One file to be read, and what is known of it; `sign` asks for the thumbnails by which copies are found."""

    root: Path
    record: ImageRecord
    modality: str | None
    intensity: str | None
    limits: Limits
    sign: bool = False


def read_rows(task: Task) -> list[dict[str, Any]]:
    """Rows of one file: one for each frame, or one alone if the whole file is refused. Nothing is raised.

    Returns
    -------
    list of dict
        The ENTRIES: columns of IMAGES, as far as a file alone tells them, and what PLAIN names.
    """
    try:
        return rows_of(task)
    # The readers are fed with unknown bytes. What they do not foresee costs one file and is told in the log.
    except Exception as error:
        kind = type(error).__name__
        # Neither the path nor the error's own words, which may quote a header.
        log.warning("A file that no reader foresaw: %s in %s", kind, _where(error))
        return [
            first_entries(task)
            | refused(
                BadInput("unreadable", f"Reading failed ({kind}); a whole file was expected: export it again."),
                task.limits,
                error,
            )
        ]


def _where(error: Exception) -> str:
    """The last place of our own code that an error came through, for a report of the fault."""
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "covidpipe" in frame.filename]
    return f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "a library"


def rows_of(task: Task) -> list[dict[str, Any]]:
    """As `read_rows`, but what no reader foresaw is raised: for tests that look for it."""
    path = task.root / task.record.path
    rows: list[dict[str, Any]] = []
    base = first_entries(task)
    try:
        if path.is_file():
            _check_bytes(path.stat().st_size, task.limits)
            base["source_sha256"] = file_sha256(path)
        opened = open_file(path, task.limits)
    except OSError as error:
        refusal = BadInput("unreadable", f"The file cannot be read ({error.strerror}): check its permissions.")
        return [base | refused(refusal)]
    except BadInput as refusal:
        return [base | refused(refusal, task.limits)]
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
        return [base | told | refused(refusal, task.limits)]
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
            rows.append(row | refused(refusal, task.limits))
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


def first_entries(task: Task) -> dict[str, Any]:
    """A row before its file is opened."""
    row: dict[str, Any] = dict.fromkeys(ENTRIES)
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


def refused(refusal: BadInput, limits: Limits | None = None, error: Exception | None = None) -> dict[str, Any]:
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
