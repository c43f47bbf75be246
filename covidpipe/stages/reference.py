"""What each method finds in lesion-free images: the reference that `reference_percentile` is told against."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from covidpipe import paths
from covidpipe.config import Config
from covidpipe.inference.cohorts import applicable_methods, findings, in_float32, load_networks, networks_of
from covidpipe.inference.engine import LoadedModel
from covidpipe.inference.methods import worst_part
from covidpipe.io.files import read_table, write_json
from covidpipe.io.sources import image_root
from covidpipe.provenance import device_name, run_record
from covidpipe.quantify import infection_percent
from covidpipe.quantify.reference import FEWEST, deciding_settings
from covidpipe.registry import METHODS, UNSEEN
from covidpipe.schemas import IMAGES

log = logging.getLogger(__name__)


def run(config: Config, modality: str, datasets: list[str], out: Path) -> None:
    """Write the references of a modality's methods to the JSON file `out`.

    Taken are the images that a data set calls lesion-free and that stand in the validation or test part of a network
    of the method, and in the training part of none. A method with fewer than `FEWEST` such images has no reference.

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
    networks = load_networks(in_float32(config), {modality}, wanted)
    used = {method: networks_of(method, modality, networks) for method in wanted[modality]}
    percents: dict[str, list[float]] = {method: [] for method in used}
    persons: dict[str, set[str]] = {method: set() for method in used}
    for dataset in datasets:
        table = paths.images(config, dataset)
        rows = [row for row in read_table(table, IMAGES).to_pylist() if _eligible(row, modality, used)]
        root = image_root(config.source_root(dataset), table.parent / "unpacked")
        for row, found in findings(rows, root, wanted, networks, config):
            for method, finding in found.items():
                if (
                    worst_part(row["source_sha256"], used[method].values()) not in UNSEEN
                    or "unreadable" in finding.reasons
                ):
                    continue
                lung, infection = finding.to_native(row["rows"], row["columns"])
                percent = 0.0 if "screened_negative" in finding.reasons else infection_percent(infection, lung)
                if percent is not None:
                    percents[method].append(round(percent, 4))
                    persons[method].add(row["patient_id"] or row["image_id"])
    told = {
        method: {
            "models": {task: network.model_id for task, network in used[method].items()},
            "settings": deciding_settings(config, method),
            "percents": sorted(percents[method]),
            "images": len(percents[method]),
            "patients": len(persons[method]),
            "datasets": sorted(datasets),
        }
        for method in used
        if len(percents[method]) >= FEWEST
    }
    for method, values in percents.items():
        log.info("%s, %s: %d lesion-free images of %d patients", modality, method, len(values), len(persons[method]))
    record = run_record("reference", seed=config.seed, started=started, device=device_name())
    write_json(out, {"modality": modality, "methods": told, "run": record})


def _eligible(row: dict[str, Any], modality: str, used: dict[str, dict[str, LoadedModel]]) -> bool:
    return (
        row["accepted"]
        and row["lesion_free"] is True
        and row["modality"] == modality
        and any(worst_part(row["source_sha256"], networks.values()) in UNSEEN for networks in used.values())
    )
