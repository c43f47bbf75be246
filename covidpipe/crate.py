"""A cohort's tables as a Process Run Crate: who made what, from what, with which networks, in one JSON-LD file.

RO-Crate 1.1 (w3id.org/ro/crate/1.1) and the Process Run Crate profile 0.5 (w3id.org/ro/wfrun/process/0.5). The crate
holds no path of a machine, no user and no patient: a study adds its own authors and license. The same tables give the
same crate, except for the time at which they were made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CRATE_FILE = "ro-crate-metadata.json"
RO_CRATE = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
# The second one knows `sha256` and `environment`.
CONTEXT = [f"{RO_CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
PARQUET = "application/vnd.apache.parquet"
ENCODINGS = {".parquet": PARQUET, ".csv": "text/csv", ".json": "application/json"}


@dataclass(frozen=True)
class MadeFile:
    """A file beside the crate.

    Parameters
    ----------
    path : str
        Relative to the crate.
    text : str
        What it is, in a sentence.
    size : int
        Bytes.
    sha256 : str
    """

    path: str
    text: str
    size: int
    sha256: str


@dataclass(frozen=True)
class UsedModel:
    """A network that took part.

    Parameters
    ----------
    model_id : str
        As the table's columns name it.
    column : str
        The column that names it: its part in the work.
    sha256 : str, optional
        Of all of its weights; None where its folder is no longer at hand.
    recipe : dict, optional
        How it was trained, from its run.json.
    """

    model_id: str
    column: str
    sha256: str | None = None
    recipe: dict[str, Any] | None = None


def process_run_crate(
    *,
    cohort: str,
    version: str,
    files: Sequence[MadeFile],
    models: Sequence[UsedModel],
    settings: dict[str, Any],
    environment: dict[str, str],
    images: int,
    sources_sha256: str,
    ended: datetime,
) -> dict[str, Any]:
    """The content of ``ro-crate-metadata.json``.

    Parameters
    ----------
    cohort : str
    version : str
        Of covidpipe.
    files : sequence of MadeFile
        Those in a folder are told with that folder.
    models : sequence of UsedModel
    settings : dict
        What the config says of the method, by key; no paths.
    environment : dict of str to str
        Versions of Python and of libraries.
    images : int
        Images seen, rejected ones included.
    sources_sha256 : str
        SHA-256 of the sorted hashes of the source files: which images these were, without naming one.
    ended : datetime
        With its time zone.
    """
    application = f"urn:covidpipe:{version}"
    images_id, run_id = "#source-images", "#run"
    folders = sorted({file.path.partition("/")[0] + "/" for file in files if "/" in file.path})
    top = [file.path for file in files if "/" not in file.path] + folders
    values = [_value("setting", name, json.dumps(value, sort_keys=True)) for name, value in sorted(settings.items())]
    versions = [_value("environment", name, value) for name, value in sorted(environment.items())]
    networks = [_network(model) for model in models]
    graph: list[dict[str, Any]] = [
        {"@id": CRATE_FILE, "@type": "CreativeWork", "about": _to("./"), "conformsTo": _to(RO_CRATE)},
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"Infection percentages of cohort {cohort}",
            "description": "For each chest image, the share of lung that is infected, as covidpipe found it. "
            "codebook.csv explains every column. Research use only.",
            "datePublished": ended.date().isoformat(),
            "license": _to("#license"),
            "author": _to("#study"),
            "publisher": _to("#study"),
            "conformsTo": _to(PROFILE),
            "hasPart": _to_all(top),
            "mentions": [_to(run_id), _to(images_id)],
        },
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        {
            "@id": "#license",
            "@type": "CreativeWork",
            "name": "Not decided",
            "description": "The study that owns the images decides on the license of the tables. The weights that come "
            "along with covidpipe were trained on images licensed for non-commercial use (CC BY-NC-SA).",
        },
        {
            "@id": run_id,
            "@type": "CreateAction",
            "name": f"covidpipe quantified cohort {cohort}",
            "description": f"Lungs and infection were segmented and measured; {images} images were seen, rejected ones "
            "included.",
            "instrument": _to(application),
            "agent": _to("#study"),
            "endTime": ended.isoformat(timespec="seconds"),
            "object": [_to(images_id), *(_to(entity["@id"]) for entity in (*networks, *values))],
            "result": _to_all(top),
            "environment": _to_all([entity["@id"] for entity in versions]),
        },
        {
            "@id": "#study",
            "@type": "Organization",
            "name": "The study",
            "description": "covidpipe does not know who ran it: put your institution here.",
        },
        {
            "@id": application,
            "@type": "SoftwareApplication",
            "name": "covidpipe",
            "softwareVersion": version,
            "license": "https://spdx.org/licenses/Apache-2.0",
            "citation": [_to("https://arxiv.org/abs/2004.03747"), _to("https://arxiv.org/abs/2009.08864")],
        },
        {
            "@id": "https://arxiv.org/abs/2004.03747",
            "@type": "ScholarlyArticle",
            "name": "COVID_MTNet: COVID-19 Detection with Multi-Task Deep Learning Approaches",
        },
        {
            "@id": "https://arxiv.org/abs/2009.08864",
            "@type": "ScholarlyArticle",
            "name": "Classification and Region Analysis of COVID-19 Infection using Lung CT Images and Deep "
            "Convolutional Neural Networks",
        },
        {
            "@id": images_id,
            "@type": "CreativeWork",
            "name": f"Source images of cohort {cohort}",
            "description": f"{images} images, not part of the crate. The column source_sha256 leads back to each file; "
            "sha256 here is that of those hashes, sorted, one a line.",
            "sha256": sources_sha256,
        },
        *networks,
        *values,
        *versions,
        *(_file(file) for file in files),
        *(_folder(folder, files) for folder in folders),
    ]
    return {"@context": CONTEXT, "@graph": graph}


def _to(identifier: str) -> dict[str, str]:
    return {"@id": identifier}


def _to_all(identifiers: Sequence[str]) -> dict[str, str] | list[dict[str, str]]:
    """One reference is written as such, not as a list of one: what RO-Crate recommends."""
    return _to(identifiers[0]) if len(identifiers) == 1 else [_to(identifier) for identifier in identifiers]


def _value(kind: str, name: str, value: str) -> dict[str, Any]:
    return {"@id": f"#{kind}-{name}", "@type": "PropertyValue", "name": name, "value": value}


def _network(model: UsedModel) -> dict[str, Any]:
    told: dict[str, Any] = {
        "@id": f"#{model.column}-{model.model_id}",
        "@type": "CreativeWork",
        "name": model.model_id,
        "description": f"The network that column {model.column} names.",
    }
    if model.sha256 is not None:
        told["sha256"] = model.sha256
    if model.recipe is not None:
        told["description"] += f" Its recipe: {json.dumps(model.recipe, sort_keys=True)}"
    return told


def _file(file: MadeFile) -> dict[str, Any]:
    ending = file.path[file.path.rindex(".") :]
    return {
        "@id": file.path,
        "@type": "File",
        "name": file.path,
        "description": file.text,
        "encodingFormat": ENCODINGS[ending],
        "contentSize": str(file.size),
        "sha256": file.sha256,
    }


def _folder(folder: str, files: Sequence[MadeFile]) -> dict[str, Any]:
    inside = [file for file in files if file.path.startswith(folder)]
    return {
        "@id": folder,
        "@type": "Dataset",
        "name": folder,
        "description": inside[0].text,
        "hasPart": _to_all([file.path for file in inside]),
    }
