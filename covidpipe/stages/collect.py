"""The cohort's tables from those of its shards: every image told once by every method, or an error."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covidpipe import __version__, paths
from covidpipe.bias import bias_text
from covidpipe.config import Config
from covidpipe.crate import CRATE_FILE, MadeFile, UsedModel, process_run_crate
from covidpipe.errors import BadTable, CovidpipeError
from covidpipe.io.covariates import read_covariates
from covidpipe.io.files import (
    count_rows,
    file_sha256,
    parts,
    read_json,
    read_pieces,
    read_table,
    write_json,
    write_pieces,
    write_table,
    write_text,
)
from covidpipe.io.hive import infection_in, write_dataset
from covidpipe.io.shards import members, owners
from covidpipe.provenance import id_key, run_record
from covidpipe.quantify import cohort as described
from covidpipe.quantify.patients import OF_IMAGES, Patients
from covidpipe.registry import METHODS
from covidpipe.schemas import (
    IMAGES,
    INFECTION,
    PATIENTS,
    REASONS,
    REJECTED,
    SCHEMA_VERSION,
    SUMMARY,
    TableSpec,
    codebook,
    resource,
)
from covidpipe.workflow import cohort_models

log = logging.getLogger(__name__)

TABLES = (INFECTION, PATIENTS, SUMMARY, REJECTED)
PIECE = 2**12  # images at a time
MODEL_COLUMNS = ("classifier_id", "lung_model_id", "infection_model_id", "pneumonia_model_id")
# What the crate tells of the config: what decides about the rows, and holds no path.
SETTINGS = {"segment", "harmonize", "threshold", "tissue"}
RECIPE = ("task", "model", "regime", "width", "image_size", "dataset", "protocol", "fold")
NO_LONGER_READABLE = (
    "The file was read at ingest, but it had changed or was gone when the image was quantified: restore it, or ingest "
    "the cohort again."
)


def run(config: Config, cohort: str, images: Path, shards: list[Path], out: Path) -> None:
    """Write infection.parquet and its companions to the folder `out`.

    A table of more rows than ``file_rows`` becomes the folder ``infection`` instead, hive-partitioned. Only
    shards whose rows come next are in memory. The same images give the same bytes of every table, however they are cut.

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
    seen = image_columns(images)
    methods = sorted(config.cohort_methods(cohort))
    patients = Patients()
    description = describe(config, cohort)
    told = Rows(images, dict.fromkeys((*OF_IMAGES, *described.OF_IMAGES)))
    modalities: set[str] = set()
    gone: set[str] = set()
    used: set[tuple[str, str]] = set()

    def pieces() -> Iterator[pa.Table]:
        for piece in whole(shards, seen["image_id"], owners(images, seen["image_id"]), methods, cohort):
            of_images = told.take(len(piece) // len(methods))
            patients.add(piece, of_images)
            description.add(piece, of_images)
            modalities.update(pc.unique(piece["modality"].drop_null()).to_pylist())
            gone.update(unreadable(piece))
            for name in MODEL_COLUMNS:
                used.update((name, value) for value in pc.unique(piece[name]).to_pylist() if value is not None)
            yield piece

    large = len(seen) * len(methods) > config.file_rows
    table = paths.infection(out, large=large)
    rows = (
        write_dataset(table, pieces(), INFECTION, config.file_rows)
        if large
        else write_pieces(table, pieces(), INFECTION)
    )
    remove(paths.infection(out, large=not large))
    write_table(out / "patients.parquet", patients.rows(), PATIENTS)
    summary = description.rows(patients.rows(), config.summary.min_cell, config.seed)
    write_table(out / "summary.parquet", [row | {"cohort": cohort} for row in summary], SUMMARY)
    write_table(out / "rejected.parquet", rejected_rows(images, gone, cohort), REJECTED)
    write_text(out / "codebook.csv", codebook_csv())
    write_json(out / "datapackage.json", data_package(cohort, out))
    record = run_record(
        "collect",
        seed=config.seed,
        started=started,
        cohort=cohort,
        methods=methods,
        images=len(seen),
        rows=rows,
        covariates=matched(description),
        threshold_bias={
            modality: bias_text(config, modality)
            for modality in sorted(modalities & set(METHODS["alom2020"].roles))
            if "alom2020" in methods
        },
        infection_sha256={str(part.path.relative_to(out)): file_sha256(part.path) for part in parts(table, INFECTION)},
    )
    write_json(out / "run.json", record)
    write_json(
        out / CRATE_FILE,
        process_run_crate(
            cohort=cohort,
            version=__version__,
            files=made_files(out),
            models=used_models(config, cohort, used),
            settings={"methods": methods, **config.model_dump(mode="json", include=SETTINGS)},
            environment={"python": record["python"], **record["packages"]},
            images=len(seen),
            sources_sha256=digest_of(seen["source_sha256"]),
            ended=datetime.now(UTC),
        ),
    )
    tidy(out, {path.parent.resolve() for path in shards})
    log.info("%s: %d rows of %d images in %s", cohort, rows, len(seen), table)


def tidy(out: Path, shards: set[Path]) -> None:
    """Remove shards of earlier runs beside those that are `shards` now, and put what is told of their jobs together.

    A million images are thousands of shards, and of each there are two logs and two benchmarks: they become lines of
    ``logs/{stage}.log`` and ``benchmarks/{stage}.tsv``, which grow with every run.
    """
    folder = (out / "shards").resolve()
    if any(shard.parent != folder for shard in shards):
        return
    for old in folder.glob("*"):
        if old not in shards and old.name.isdigit():
            shutil.rmtree(old)
    for stage in ("predict", "quantify"):
        append(out / "logs" / f"{stage}.log", sorted((out / "logs" / stage).glob("*.log")), head=0)
        append(out / "benchmarks" / f"{stage}.tsv", sorted((out / "benchmarks" / stage).glob("*.tsv")), head=1)


def append(whole: Path, files: list[Path], head: int) -> None:
    """Move what is in text files to the end of one; their first `head` lines, which are all the same, once."""
    if files:
        with whole.open("a", encoding="utf-8") as target:
            for file in files:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
                target.writelines(lines[head if target.tell() else 0 :])
    for file in files:
        file.unlink()


def remove(table: Path) -> None:
    """Remove the table of an earlier run that was smaller, or larger: there must not be two."""
    if table.is_dir():
        shutil.rmtree(table)
    else:
        table.unlink(missing_ok=True)


def image_columns(images: Path) -> pa.Table:
    """Which images there are, and of which files: the columns of the image table that fit into memory."""
    names = ["image_id", "source_sha256"]
    schema = pa.schema([(name, pa.large_string()) for name in names])  # of many millions: beyond what a string holds
    pieces = (piece.select(names).cast(schema) for piece in read_pieces(images, IMAGES))
    return pa.concat_tables([schema.empty_table(), *pieces])


def describe(config: Config, cohort: str) -> described.Description:
    """The description of a cohort, to be filled; with its covariates, if it has any."""
    file = config.cohorts[cohort].covariates
    if file is None:
        return described.Description()
    known = read_covariates(Path(file), id_key())
    return described.Description(known.names, known.of_patient, known.of_path)


def matched(description: described.Description) -> dict[str, Any] | None:
    """How many rows of the covariates belong to images of the cohort; None without covariates."""
    if not description.names:
        return None
    rows = len(description.of_patient) + len(description.of_path)
    if len(description.matched) < rows:
        log.info("%d of %d rows of the covariates belong to no image", rows - len(description.matched), rows)
    return {"names": list(description.names), "rows": rows, "matched": len(description.matched)}


class Rows:
    """Some columns of the image table, read on as they are asked for."""

    def __init__(self, images: Path, names: Iterable[str]):
        names = list(names)
        self._pieces = (piece.select(names) for piece in read_pieces(images, IMAGES))
        self._waiting = pa.table({name: pa.array([], IMAGES.schema.field(name).type) for name in names})

    def take(self, number: int) -> pa.Table:
        """The next `number` rows, or those that are left."""
        while len(self._waiting) < number and (piece := next(self._pieces, None)) is not None:
            self._waiting = pa.concat_tables([self._waiting, piece.cast(self._waiting.schema)])
        taken, self._waiting = self._waiting.slice(0, number), self._waiting.slice(number)
        return taken


def digest_of(hashes: pa.ChunkedArray) -> str:
    """SHA-256 of the sorted hashes, one a line: the same for the same files, wherever they lie."""
    digest = hashlib.sha256()
    known = hashes.drop_null()
    ordered = known.take(pc.sort_indices(known))
    for start in range(0, len(ordered), 2**16):
        digest.update("".join(f"{value}\n" for value in ordered.slice(start, 2**16).to_pylist()).encode())
    return digest.hexdigest()


def whole(
    shards: list[Path], image_ids: pa.ChunkedArray, of_image: np.ndarray | None, methods: list[str], cohort: str
) -> Iterator[pa.Table]:
    """The table of a cohort, in pieces, proven to hold every image once by every method, in order.

    Parameters
    ----------
    shards : list of Path
    image_ids : ChunkedArray of str
        All images, in their order.
    of_image : ndarray of int, optional
        The place of each image's shard in `shards`. None: the shards follow each other as the images do.
    methods : list of str
        Sorted.
    cohort : str
    """
    per_image = len(methods)
    if of_image is None:
        of_image = np.repeat(np.arange(len(shards)), [count_rows(path, INFECTION) // per_image for path in shards])
    given = int(of_image.max()) + 1 if len(of_image) else min(1, len(shards))
    if len(of_image) != len(image_ids) or given != len(shards):
        raise BadTable(
            f"Cohort `{cohort}`: wanted {len(image_ids)} images x {per_image} methods, found {len(of_image)} images in "
            f"{len(shards)} shards. Run quantify for the missing shards and give them all."
        )
    ids, mine = image_ids.combine_chunks(), members(of_image)
    waiting: dict[int, pa.Table] = {}  # rows of shards that are not through
    for start in range(0, len(of_image), PIECE):
        here = of_image[start : start + PIECE]
        some = []
        for number in np.unique(here).tolist():
            rows = waiting.pop(number, None)
            if rows is None:
                rows = _rows_of(shards[number], ids.take(pa.array(mine[number])), methods, cohort)
            count = per_image * int(np.count_nonzero(here == number))
            some.append(rows.slice(0, count))
            if count < len(rows):
                waiting[number] = rows.slice(count)
        place = np.empty(len(here), np.int64)  # of each image among the rows of `some`
        place[np.argsort(here, kind="stable")] = np.arange(len(here))
        yield pa.concat_tables(some).take((per_image * place[:, np.newaxis] + np.arange(per_image)).ravel())


def _rows_of(path: Path, image_ids: pa.Array, methods: list[str], cohort: str) -> pa.Table:
    """Rows of a shard's images; of those that have left it since, the shard may have rows too."""
    rows = read_table(path, INFECTION)
    ids = image_ids.cast(pa.string())
    rows = rows.filter(pc.is_in(rows["image_id"], value_set=ids))
    wanted = {
        "cohort": pa.repeat(cohort, len(image_ids) * len(methods)),
        "image_id": ids.take(pa.array(np.repeat(np.arange(len(ids)), len(methods)))),
        "method": pa.array(methods * len(image_ids), pa.string()),
    }
    if not all(rows[name].equals(pa.chunked_array([wanted[name]])) for name in INFECTION.key):
        raise BadTable(
            f"{path}: wanted the rows of {len(image_ids)} images of cohort `{cohort}`, each by {', '.join(methods)}, "
            "in the order of the image table; found other rows. Run quantify again for this shard, and give the shards "
            "in their order."
        )
    return rows


def unreadable(piece: pa.Table) -> set[str]:
    """Images of a part of the infection table whose row says that they could not be read."""
    rejected = piece.filter(pc.equal(piece["qc_status"], "rejected"))
    rows = zip(rejected["image_id"].to_pylist(), rejected["qc_reasons"].to_pylist(), strict=True)
    return {image_id for image_id, reasons in rows if "unreadable" in reasons}


def rejected_rows(images: Path, gone: set[str], cohort: str) -> list[dict[str, Any]]:
    """Rows of REJECTED: what ingest refused, and what could no longer be read afterwards."""
    lost = pa.array(sorted(gone), pa.string())
    rows = []
    for piece in read_pieces(images, IMAGES):
        refused = pc.or_(pc.invert(piece["accepted"]), pc.is_in(piece["image_id"], lost))
        for row in piece.filter(refused).to_pylist():
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
    """The Frictionless data package of the tables in `folder`: a resource for each file."""
    resources = []
    for spec in TABLES:
        for part in parts(path_of(folder, spec), spec):
            described = resource(spec, str(part.path.relative_to(folder)), part.told)
            # Not `bytes`: frictionless compares it with what it read as text, which of Parquet is nothing.
            resources.append(described | {"hash": f"sha256:{file_sha256(part.path)}"})
    return {
        "profile": "data-package",
        "name": cohort.lower(),
        "title": f"Infection percentages of cohort {cohort}",
        "version": SCHEMA_VERSION,
        "description": f"Made by covidpipe {__version__}. Research use only; codebook.csv explains every column.",
        "resources": resources,
    }


def path_of(folder: Path, spec: TableSpec) -> Path:
    """Where a table of the cohort lies in its `folder`."""
    return infection_in(folder) if spec is INFECTION else folder / f"{spec.name}.parquet"


def made_files(folder: Path) -> list[MadeFile]:
    """The tables of `folder` and what explains them, for the crate. run.json is not among them: it names folders."""
    found = [
        (folder / "codebook.csv", "Every column of every table, and every reason code."),
        (folder / "datapackage.json", "The tables as a Frictionless data package."),
    ]
    for spec in TABLES:
        text = f"Table `{spec.name}`: {spec.grain}."
        found += [(part.path, text) for part in parts(path_of(folder, spec), spec)]
    return [
        MadeFile(str(path.relative_to(folder)), text, path.stat().st_size, file_sha256(path)) for path, text in found
    ]


def used_models(config: Config, cohort: str, used: set[tuple[str, str]]) -> list[UsedModel]:
    """The networks that the table's rows name, with what their folders tell where they are still at hand."""
    files: list[Path] = []
    with contextlib.suppress(CovidpipeError):
        files = cohort_models(config, cohort)
    records = [read_json(file.parent / "run.json") for file in files if (file.parent / "run.json").exists()]
    known = {f"{record['recipe']['model']}@{record['weights_sha256'][:12]}": record for record in records}
    models = []
    for column, model_id in sorted(used):
        record = known.get(model_id)
        recipe = record and {key: record["recipe"][key] for key in RECIPE if key in record["recipe"]}
        models.append(UsedModel(model_id, column, record and record["weights_sha256"], recipe))
    return models
