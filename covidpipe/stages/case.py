"""One image on one page: what every step made of it, and what the table says of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from covidpipe import paths
from covidpipe.config import Config
from covidpipe.errors import BadInput, CovidpipeError, UsageError
from covidpipe.inference.cohorts import applicable_methods, load_networks
from covidpipe.inference.looking import Look, look
from covidpipe.io.files import read_pieces, write_text
from covidpipe.io.hive import infection_in
from covidpipe.io.read import read_again
from covidpipe.io.sources import image_root
from covidpipe.report import case
from covidpipe.schemas import IMAGES, INFECTION

log = logging.getLogger(__name__)

SHORTEST = 4  # digits of an image_id that may stand for the whole


def run(
    config: Config, image_id: str, out: Path | None = None, *, pictures: bool = True
) -> tuple[Path, dict[str, Any]]:
    """Write the page of one image of a study's cohorts; its networks run once more for what no table keeps.

    Parameters
    ----------
    config : Config
    image_id : str
        Or its first digits, if no other image begins so.
    out : Path, optional
        Default: ``cases/IMAGE_ID.html`` in the cohort's folder.
    pictures : bool
        False: nothing is run and nothing written.

    Returns
    -------
    Path, dict
        The page, and what the tables say: ``cohort``, ``image`` and ``rows``, one for each method.

    Raises
    ------
    UsageError
        No image, or more than one, is called so.
    CovidpipeError
        A network is missing.
    """
    cohort, image = find(config, image_id)
    rows = _matching(infection_in(paths.cohort(config, cohort)), INFECTION, image["image_id"])
    told = {"cohort": cohort, "image": _public(image), "rows": rows}
    page = out or paths.cohort(config, cohort) / "cases" / f"{image['image_id']}.html"
    if pictures:
        seen, missing = _look(config, cohort, image)
        write_text(page, case.render(config, cohort, image, rows, seen, missing))
        log.info("case %s of %s: %s", image["image_id"], cohort, missing or "all steps drawn")
    return page, told


def find(config: Config, image_id: str) -> tuple[str, dict[str, Any]]:
    """The cohort and row of the image table that an id, or its first digits, names.

    Raises
    ------
    UsageError
    """
    if len(image_id) < SHORTEST:
        raise UsageError(f"`{image_id}` is too short for an image_id: give at least {SHORTEST} of its digits.")
    found = []
    tables = {cohort: paths.images(config, cohort) for cohort in config.cohorts}
    for cohort, table in tables.items():
        if table.exists():
            found += [(cohort, row) for row in _matching(table, IMAGES, image_id)]
    exact = [(cohort, row) for cohort, row in found if row["image_id"] == image_id]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        some = ", ".join(f"{row['image_id']} ({cohort})" for cohort, row in found[:5])
        raise UsageError(f"{len(found)} images begin with `{image_id}`: {some}. Give more of its digits.")
    read = [cohort for cohort, table in tables.items() if table.exists()]
    raise UsageError(
        f"No image of {', '.join(read) or 'this study, which has not been run yet,'} is called `{image_id}`. "
        "The ids stand in infection.parquet and in the report."
    )


def _matching(table: Path, spec: Any, begin: str) -> list[dict[str, Any]]:
    parts = [piece.filter(pc.starts_with(piece["image_id"], begin)) for piece in read_pieces(table, spec)]
    return pa.concat_tables(parts).to_pylist() if parts else []


def _public(image: dict[str, Any]) -> dict[str, Any]:
    """The row without where its file lies, which may name a patient."""
    return {key: value for key, value in image.items() if not key.endswith("path")}


def _look(config: Config, cohort: str, image: dict[str, Any]) -> tuple[Look | None, str | None]:
    if not image["accepted"]:
        return None, image["sentence"]
    wanted = applicable_methods(config, config.cohort_methods(cohort))
    of_modality = wanted[image["modality"]]
    if not of_modality:
        return None, "No method of this study is defined for it, or has its networks."
    root = image_root(config.source_root(cohort), paths.images(config, cohort).parent / "unpacked")
    try:
        array = read_again(root, image)
    except BadInput as error:
        return None, error.sentence
    networks = load_networks(config, [image["modality"]], wanted, optional=True)[image["modality"]]
    missing = {"segment_lungs"} - set(networks)
    if missing:
        raise CovidpipeError(
            f"{', '.join(missing)}: no network is named for {image['modality']} under `models`. Name one there."
        )
    return look([array], of_modality, networks, config)[0], None
