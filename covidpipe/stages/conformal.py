"""How far the methods are off on patients whom their networks have not learned from: what intervals are made of."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidpipe import paths
from covidpipe.config import Config
from covidpipe.inference.cohorts import Team, applicable_methods, findings, in_float32, teams
from covidpipe.inference.methods import Finding
from covidpipe.io.files import read_table, write_json
from covidpipe.io.masks import read_truth
from covidpipe.io.sources import image_root
from covidpipe.provenance import device_name, run_record
from covidpipe.quantify.conformal import calibrations_of, coverage
from covidpipe.quantify.percentages import count, percent
from covidpipe.quantify.reference import deciding_settings
from covidpipe.registry import METHODS
from covidpipe.schemas import IMAGES
from covidpipe.stages.folds import groups_of
from covidpipe.stages.ship import update_cards

log = logging.getLogger(__name__)

# Coverage is told at this level too, which needs nine patients: what more of them would say.
ALSO_AT = 0.9


@dataclass(frozen=True)
class Judged:
    """An image by a method beside its truth, on the native grid.

    Parameters
    ----------
    method, dataset, image_id, patient : str
    part : str or None
        The part that the image had when the method's networks were trained; None: they never had it.
    found, true : tuple of int
        Lung pixels, and infected ones among them.
    screened_negative : bool
        The method says 0 % without having segmented.
    """

    method: str
    dataset: str
    image_id: str
    patient: str
    part: str | None
    found: tuple[int, int]
    true: tuple[int, int]
    screened_negative: bool = False

    @property
    def found_percent(self) -> float | None:
        """As `covidpipe.quantify.percentages.quantify_image` tells it."""
        lung, infected = self.found
        return 0.0 if self.screened_negative else percent(infected, lung)

    @property
    def true_percent(self) -> float | None:
        lung, infected = self.true
        return percent(infected, lung)


def run(config: Config, modality: str, sources: Sequence[str], out: Path, cards: Path | None = None) -> None:
    """Write what the methods of a modality found, and what was true, to the JSON file `out`; with the coverage.

    Taken are the images of `sources` with radiologists' masks of lungs and infection whose patient is known, and from
    which no network of the method has learned: of its own data set those of the test part, by every fold that the study
    trains (`covidpipe.inference.cohorts.teams`), or of the validation part too where it trains one. A method without
    any is not told.

    Parameters
    ----------
    config : Config
    modality : {"ct", "xr"}
    sources : sequence of str
        Data sets and cohorts; their image tables lie where the config says.
    out : Path
    cards : Path, optional
        Folder of model folders; the cards of those that took part are told the coverage.
    """
    started = time.time()
    wanted = applicable_methods(config, METHODS)
    some: list[Judged] = []
    ids: list[dict[str, dict[str, str]]] = []  # of each team: by method, by task
    for team in teams(in_float32(config), modality, wanted):
        some += judged(config, modality, sources, wanted, team)
        ids.append(team.ids(wanted[modality]))
    told = {method: by_patient(one for one in some if one.method == method) for method in wanted[modality]}
    by_method = {method: patients for method, patients in told.items() if patients}
    for method in sorted(set(wanted[modality]) - set(by_method)):
        log.warning(
            "%s, %s: %s have no image with lung and infection masks that the networks have not learned from: it will "
            "have no intervals. `covidpipe datasets` lists what has masks.",
            *(modality, method, ", ".join(sources)),
        )
    levels = sorted({ALSO_AT, config.intervals.level})
    methods: dict[str, Any] = {}
    for method, patients in sorted(by_method.items()):
        methods[method] = {
            "models": ids[0][method],
            "settings": deciding_settings(config, method),
            "patients": patients,
        }
    for (_, method), (calibration,) in calibrations_of([{"modality": modality, "methods": methods}]).items():
        methods[method]["coverage"] = [row for level in levels for row in coverage(calibration, level)]
        for row in methods[method]["coverage"]:
            log.info("%s, %s: %s", modality, method, ", ".join(f"{name} {value}" for name, value in row.items()))
    record = run_record(
        "conformal",
        seed=config.seed,
        started=started,
        device=device_name(),
        sources=list(sources),
        other_folds=ids[1:],
    )
    write_json(out, {"modality": modality, "methods": methods, "run": record})
    if cards is not None:
        update_cards(cards, [out])


def judged(
    config: Config,
    modality: str,
    sources: Iterable[str],
    wanted: Mapping[str, Sequence[str]],
    team: Team,
) -> Iterator[Judged]:
    """The images of `sources` that tell how far methods are off, by every one of the `wanted` methods they are new to.

    Parameters
    ----------
    config : Config
    modality : {"ct", "xr"}
    sources : iterable of str
        Data sets and cohorts; their image tables lie where the config says.
    wanted : dict of modality to methods
    team : Team
    """
    for source in sources:
        table = paths.images(config, source)
        dataset = config.source(source).dataset or source
        rows = [row for row in read_table(table, IMAGES).to_pylist() if _tells(row, modality)]
        rows = [row for row in rows if any(team.is_judged_by(row, dataset, method) for method in wanted[modality])]
        groups = groups_of(config, dataset, rows)
        root = image_root(config.source_root(source), table.parent / "unpacked")
        for row, found in findings(rows, root, wanted, team.networks, config):
            truth = read_truth(root, row)
            assert truth.infection is not None and truth.lung is not None, "they were told by the table"
            for method, finding in found.items():
                if team.is_judged_by(row, dataset, method) and "unreadable" not in finding.reasons:
                    yield Judged(
                        method,
                        dataset,
                        row["image_id"],
                        groups[row["image_id"]],
                        team.part(row, method),
                        pixels(finding, row),
                        count(truth.infection, truth.lung),
                        "screened_negative" in finding.reasons,
                    )


def pixels(finding: Finding, row: dict[str, Any]) -> tuple[int, int]:
    """Lung pixels of a finding, and infected ones among them, on the image's native grid."""
    lung, infection = finding.to_native(row["rows"], row["columns"])
    return count(infection & ("screened_negative" not in finding.reasons), lung)


def _tells(row: dict[str, Any], modality: str) -> bool:
    """True if an image has a truth, and a patient: of unknown ones it is not known how few they are."""
    masks = row["lung_mask_path"] is not None and row["infection_mask_path"] is not None
    return masks and row["accepted"] and row["modality"] == modality and row["patient_id"] is not None


def by_patient(some: Iterable[Judged]) -> list[dict[str, Any]]:
    """Percentages found and true, by patient, without a name or an order that would lead to one."""
    persons: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for one in some:
        if one.found_percent is not None and one.true_percent is not None:  # without lung nothing to be off by
            pair = round(one.found_percent, 4), round(one.true_percent, 4)
            persons.setdefault((one.patient, one.dataset), []).append(pair)
    told = []
    for (_, dataset), pairs in persons.items():
        found_of, true_of = zip(*sorted(pairs), strict=True)
        told.append({"dataset": dataset, "found": list(found_of), "true": list(true_of)})
    return sorted(told, key=lambda person: (person["dataset"], person["found"], person["true"]))
