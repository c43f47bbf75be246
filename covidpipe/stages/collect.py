"""The cohort's tables from those of its shards: every image told once by every method, or an error."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from covidpipe import __version__
from covidpipe.config import Config
from covidpipe.errors import BadTable
from covidpipe.io.files import file_sha256, read_table, write_json, write_pieces, write_table, write_text
from covidpipe.provenance import run_record
from covidpipe.quantify.patients import patient_counts, patient_rows
from covidpipe.schemas import IMAGES, INFECTION, PATIENTS, REASONS, REJECTED, SCHEMA_VERSION, codebook, resource

log = logging.getLogger(__name__)

TABLES = (INFECTION, PATIENTS, REJECTED)
NO_LONGER_READABLE = (
    "The file was read at ingest, but it had changed or was gone when the image was quantified: restore it, or ingest "
    "the cohort again."
)


def run(config: Config, cohort: str, images: Path, shards: list[Path], out: Path) -> None:
    """Write infection.parquet and its companions to the folder `out`.

    Shards are read one at a time. The same shards give the same bytes of infection.parquet, however they were cut.

    Parameters
    ----------
    config : Config
    cohort : str
    images : Path
        The cohort's ``images.parquet``.
    shards : list of Path
        ``infection.parquet`` of each shard, in their order.
    out : Path

    Raises
    ------
    BadTable
        A row is missing, is there twice, or belongs to another image table: rows in are not rows out.
    """
    started = time.time()
    table = read_table(images, IMAGES)
    methods = sorted(config.cohort_methods(cohort))
    counts: list[pa.Table] = []
    gone: set[str] = set()

    def pieces() -> Iterator[pa.Table]:
        accepted = set(table.filter(table["accepted"])["image_id"].to_pylist())
        for piece in whole(shards, table["image_id"].to_pylist(), methods, cohort):
            counts.append(patient_counts(piece))
            gone.update(unreadable(piece) & accepted)
            yield piece

    rows = write_pieces(out / "infection.parquet", pieces(), INFECTION)
    write_table(out / "patients.parquet", patient_rows(counts), PATIENTS)
    write_table(out / "rejected.parquet", rejected_rows(table, gone, cohort), REJECTED)
    write_text(out / "codebook.csv", codebook_csv())
    write_json(out / "datapackage.json", data_package(cohort, out))
    write_json(
        out / "run.json",
        run_record(
            "collect",
            seed=config.seed,
            started=started,
            cohort=cohort,
            methods=methods,
            images=len(table),
            rows=rows,
            infection_sha256=file_sha256(out / "infection.parquet"),
        ),
    )
    log.info("%s: %d rows of %d images in %s", cohort, rows, len(table), out / "infection.parquet")


def whole(shards: list[Path], image_ids: list[str], methods: list[str], cohort: str) -> Iterator[pa.Table]:
    """Tables of the shards, proven to hold every image of the cohort once by every method, in order."""
    done = 0
    for path in shards:
        piece = read_table(path, INFECTION)
        here = image_ids[done : done + len(piece) // len(methods)]
        wanted = [(cohort, image_id, method) for image_id in here for method in methods]
        found = list(zip(*(piece[name].to_pylist() for name in INFECTION.key), strict=True))
        if found != wanted:
            raise BadTable(
                f"{path}: wanted the rows of images {done} to {done + len(here) - 1} of cohort `{cohort}`, each by "
                f"{', '.join(methods)}, in the order of the image table; found other rows. Run quantify again for "
                "this shard, and give the shards in their order."
            )
        done += len(here)
        yield piece
    if done != len(image_ids):
        raise BadTable(
            f"Cohort `{cohort}`: wanted {len(image_ids)} images x {len(methods)} methods, found {done} images in "
            f"{len(shards)} shards. Run quantify for the missing shards and give them all."
        )


def unreadable(piece: pa.Table) -> set[str]:
    """Images of a part of the infection table whose row says that they could not be read."""
    rejected = piece.filter(pc.equal(piece["qc_status"], "rejected"))
    rows = zip(rejected["image_id"].to_pylist(), rejected["qc_reasons"].to_pylist(), strict=True)
    return {image_id for image_id, reasons in rows if "unreadable" in reasons}


def rejected_rows(images: pa.Table, gone: set[str], cohort: str) -> list[dict[str, Any]]:
    """Rows of REJECTED: what ingest refused, and what could no longer be read afterwards."""
    refused = pc.or_(pc.invert(images["accepted"]), pc.is_in(images["image_id"], pa.array(sorted(gone), pa.string())))
    rows = []
    for row in images.filter(refused).to_pylist():
        why = {"reason": "unreadable", "sentence": NO_LONGER_READABLE} if row["accepted"] else {}
        rows.append({name: (row | why).get(name) for name in REJECTED.names} | {"cohort": cohort})
    return rows


def codebook_csv() -> str:
    """Every column of every table, and every reason code, as CSV."""
    rows = [row for spec in TABLES for row in codebook(spec)]
    reasons = [dict.fromkeys(rows[0], "") | {"table": "reasons", "column": c, "text": t} for c, t in REASONS.items()]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows + reasons)
    return text.getvalue()


def data_package(cohort: str, folder: Path) -> dict[str, Any]:
    """The Frictionless data package of the tables in `folder`."""
    resources = []
    for spec in TABLES:
        path = folder / f"{spec.name}.parquet"
        described = resource(spec, path.name)
        resources.append(described | {"bytes": path.stat().st_size, "hash": f"sha256:{file_sha256(path)}"})
    return {
        "profile": "data-package",
        "name": cohort.lower(),
        "title": f"Infection percentages of cohort {cohort}",
        "version": SCHEMA_VERSION,
        "description": f"Made by covidpipe {__version__}. Research use only; codebook.csv explains every column.",
        "resources": resources,
    }
