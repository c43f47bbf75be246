"""What is known of the patients besides their images: a CSV, joined without its identifiers ever being written."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from covidpipe.errors import BadConfig
from covidpipe.provenance import keyed_hash
from covidpipe.sealed import seal

IDENTIFIERS = ("patient", "issuer", "path", "file")
LEVELS_AT_MOST = 20

Values = tuple[str | None, ...]


@dataclass(frozen=True)
class Covariates:
    """Values of every covariate, by whom or what they belong to.

    Parameters
    ----------
    names : tuple of str
    of_patient : mapping of patient_id to values
        Keyed hashes, as in the image table.
    of_path : mapping of path to values
        Sealed, as in the image table's `path`.
    """

    names: tuple[str, ...] = ()
    of_patient: Mapping[str, Values] = field(default_factory=dict)
    of_path: Mapping[str, Values] = field(default_factory=dict)


def read_covariates(path: Path, key: bytes) -> Covariates:
    """Read a CSV with one row a patient, or one a file.

    A column ``patient`` holds patients' identifiers as the images' headers, list or data set give them (for DICOM files
    with an IssuerOfPatientID also ``issuer``); they are hashed like those. Or a column ``path`` (or ``file``) holds
    files' paths, relative to the folder that is read. Every other column is a covariate; an empty cell is unknown.

    Parameters
    ----------
    path : Path
    key : bytes
        Of the identifiers' hashes.

    Raises
    ------
    BadConfig
        The file is not there or no such CSV, a row contradicts an earlier one, or a covariate has too many values to
        be a group. No identifier is in the message.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadConfig(f"{path}: the covariates cannot be read ({error}). Wanted a CSV in UTF-8.") from None
    header = [cell.strip() for cell in lines[0]] if lines else []
    whose = [name for name in header if name.lower() in ("patient", "path", "file")]
    names = tuple(name for name in header if name.lower() not in IDENTIFIERS)
    if len(whose) != 1 or not names or len(set(header)) != len(header) or not all(header):
        raise BadConfig(
            f"{path}: wanted one column `patient` (or `path`) and at least one covariate, each with its own name; "
            f"found {', '.join(header) or 'nothing'}."
        )
    found: dict[str, Values] = {}
    for number, cells in enumerate(lines[1:], start=2):
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        if not any(row.values()):
            continue
        if not row.get(whose[0]):
            raise BadConfig(f"{path}, row {number}: no `{whose[0]}` is given. Fill it in, or take the row out.")
        who = row[whose[0]]
        if whose[0].lower() == "patient":
            issuer = next((row[name] for name in header if name.lower() == "issuer"), "")
            who = keyed_hash("patient", *(word for word in (issuer, who) if word), key=key)
        else:
            who = seal(who, key)
        values = tuple(row.get(name) or None for name in names)
        if found.setdefault(who, values) != values:
            raise BadConfig(
                f"{path}, row {number}: its `{whose[0]}` stands in an earlier row with other values. Wanted one "
                "row each: take one of them out."
            )
    for place, name in enumerate(names):
        levels = {values[place] for values in found.values()} - {None}
        if len(levels) > LEVELS_AT_MOST:
            raise BadConfig(
                f"{path}: covariate `{name}` has {len(levels)} different values; at most {LEVELS_AT_MOST} make groups. "
                "Make bands of it, such as 60-69."
            )
    return Covariates(names, found, {}) if whose[0].lower() == "patient" else Covariates(names, {}, found)
