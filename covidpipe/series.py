"""What images are to each other: who is a copy, which series they form, in what place and on which day.

Functions of rows as `covidpipe.io.rows` reads them: they depend on all rows of a source, so none is kept with a file.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import MutableMapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from covidpipe.provenance import keyed_hash

Row = MutableMapping[str, Any]

SOURCES = {"position_mm": "position", "instance": "instance", "path": "file_order"}  # of a slice_index


def identify(rows: Sequence[Row], key: bytes) -> None:
    """Give every row its image_id: it depends on the bytes, not on where the folder lies."""
    copies: Counter[tuple[str, int]] = Counter()
    for row in rows:
        # A file without readable bytes has only its place to be known by.
        content = row["source_sha256"] or keyed_hash("path", row["path"], key=key)
        copy = copies[content, row["frame"]]
        copies[content, row["frame"]] += 1
        row["image_id"] = hashlib.sha256(f"{content}:{row['frame']}:{copy}".encode()).hexdigest()[:16]


def place(rows: Sequence[Row]) -> None:
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


def count_days(rows: Sequence[Row]) -> None:
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


def flag_copies(rows: Sequence[Row]) -> None:
    """Warn of every accepted image whose pixels are those of another: the first one too."""
    times = Counter(row["pixel_sha256"] for row in rows if row["accepted"])
    for row in rows:
        if times[row["pixel_sha256"]] > 1:
            row["warnings"] = sorted({*row["warnings"], "duplicate"})


def hash_identifiers(rows: Sequence[Row], key: bytes) -> None:
    """Give every row the hashes of its identifiers: of the header nothing else is written."""
    hashed = functools.cache(functools.partial(keyed_hash, key=key))  # images of a series have the same
    for row in rows:
        row["patient_id"] = hashed("patient", *row["patient"]) if row["patient"] else None
        for kind in ("study", "series"):
            row[f"{kind}_id"] = hashed(kind, row[kind]) if row[kind] else None
