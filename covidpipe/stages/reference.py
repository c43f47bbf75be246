"""What each method finds in lesion-free images: the reference that `reference_percentile` is told against."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from covidpipe import paths
from covidpipe.config import Config
from covidpipe.inference.cohorts import Team, applicable_methods, findings, in_float32, teams
from covidpipe.io.files import read_table, write_json
from covidpipe.io.sources import image_root
from covidpipe.provenance import device_name, run_record
from covidpipe.quantify import infection_percent
from covidpipe.quantify.reference import FEWEST, deciding_settings
from covidpipe.registry import METHODS
from covidpipe.schemas import IMAGES
from covidpipe.stages.folds import groups_of

log = logging.getLogger(__name__)


def run(config: Config, modality: str, datasets: list[str], out: Path) -> None:
    """Write the references of a modality's methods to the JSON file `out`.

    Taken are the images that a data set calls lesion-free and from which no network of the method has learned: of its
    own data set those of the test part, by every fold that the study trains (`covidpipe.inference.cohorts.teams`), or
    of the validation part too where it trains one. A method with fewer than `FEWEST` such images has no reference.

    Parameters
    ----------
    config : Config
    modality : {"ct", "xr"}
    datasets : list of str
        Data sets of the networks; their image tables lie where the config says.
    out : Path
    """
    started = time.time()
    wanted = applicable_methods(config, METHODS)
    percents: dict[str, list[float]] = {method: [] for method in wanted[modality]}
    persons: dict[str, set[str]] = {method: set() for method in wanted[modality]}
    ids: list[dict[str, dict[str, str]]] = []  # of each team: by method, by task
    for team in teams(in_float32(config), modality, wanted):
        ids.append(team.ids(wanted[modality]))
        for method, person, percent in _found(config, modality, datasets, wanted, team):
            percents[method].append(round(percent, 4))
            persons[method].add(person)
    told = {
        method: {
            "models": ids[0][method],
            "settings": deciding_settings(config, method),
            "percents": sorted(percents[method]),
            "images": len(percents[method]),
            "patients": len(persons[method]),
            "datasets": sorted(datasets),
        }
        for method in wanted[modality]
        if len(percents[method]) >= FEWEST
    }
    for method, values in percents.items():
        log.info("%s, %s: %d lesion-free images of %d patients", modality, method, len(values), len(persons[method]))
    record = run_record("reference", seed=config.seed, started=started, device=device_name(), other_folds=ids[1:])
    write_json(out, {"modality": modality, "methods": told, "run": record})


def _found(
    config: Config, modality: str, datasets: Iterable[str], wanted: Mapping[str, Sequence[str]], team: Team
) -> Iterator[tuple[str, str, float]]:
    """Method, patient and percentage of each lesion-free image that a team may be judged by."""
    for dataset in datasets:
        table = paths.images(config, dataset)
        rows = [row for row in read_table(table, IMAGES).to_pylist() if _is_lesion_free(row, modality)]
        rows = [row for row in rows if any(team.is_judged_by(row, dataset, method) for method in wanted[modality])]
        groups = groups_of(config, dataset, rows)
        root = image_root(config.source_root(dataset), table.parent / "unpacked")
        for row, found in findings(rows, root, wanted, team.networks, config):
            for method, finding in found.items():
                if not team.is_judged_by(row, dataset, method) or "unreadable" in finding.reasons:
                    continue
                lung, infection = finding.to_native(row["rows"], row["columns"])
                percent = 0.0 if "screened_negative" in finding.reasons else infection_percent(infection, lung)
                if percent is not None:
                    yield method, groups[row["image_id"]], percent


def _is_lesion_free(row: dict[str, Any], modality: str) -> bool:
    return row["accepted"] and row["lesion_free"] is True and row["modality"] == modality
