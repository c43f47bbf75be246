"""The papers' public data sets as declarations: where each is had, under which licence, and how it is laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from covidpipe import paths
from covidpipe.config import Config, Section
from covidpipe.errors import BadConfig
from covidpipe.provenance import PACKAGE
from covidpipe.registry import DATASETS, TASKS, TRUTH_OF_TASK

DECLARATIONS = PACKAGE.parent / "config" / "datasets.yaml"


class RemoteFile(Section):
    """One file that can be downloaded without an account."""

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    url: str = Field(pattern=r"^https://")
    checksum: str | None = Field(None, pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")
    largest_gib: float = Field(gt=0, description="a download is given up beyond this")


class PublicSet(Section):
    """One data set of the papers.

    ``doi``, ``page`` and ``kaggle`` say where it is had; ``files`` what `covidpipe fetch` downloads, and ``steps`` what
    a person does where an account is needed or the form of the files differs. ``layout``, ``labels`` and ``patients``
    are the rules that covidpipe reads it by.
    """

    text: str
    papers: list[str] = Field(min_length=1)
    used_for: list[str] = Field(min_length=1)
    licence: str
    size: str
    doi: str | None = None
    page: str | None = Field(None, pattern=r"^https://")
    kaggle: str | None = Field(None, pattern=r"^[\w-]+/[\w-]+$")
    files: list[RemoteFile] = Field(default_factory=list)
    steps: list[str] = Field(default_factory=list)
    layout: str
    labels: str
    patients: str

    @model_validator(mode="after")
    def _can_be_had(self) -> PublicSet:
        if not (self.doi or self.page or self.kaggle or self.steps):
            raise ValueError("say where it is had: `doi`, `page`, `kaggle` or `steps`")
        if not (self.files or self.steps):
            raise ValueError("give `files` to download, or the `steps` that a person takes")
        return self

    def origins(self) -> list[str]:
        """Where it is had, in words that can be pasted."""
        return [
            *([f"https://doi.org/{self.doi}"] if self.doi else []),
            *([self.page] if self.page else []),
            *([f"Kaggle: {self.kaggle}"] if self.kaggle else []),
        ]


def declared(path: Path = DECLARATIONS) -> dict[str, PublicSet]:
    """Read ``config/datasets.yaml``.

    Raises
    ------
    BadConfig
        The file is missing, or a declaration is wrong: which key of which set.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfig(
            f"{path}: wanted the declarations of the public data sets ({' '.join(str(error).split())}). They come with "
            "a clone of the repository."
        ) from None
    if not isinstance(raw, dict):
        raise BadConfig(f"{path}: wanted a mapping of names to declarations, found {type(raw).__name__}.")
    found = {}
    for name, entry in raw.items():
        try:
            found[str(name)] = PublicSet.model_validate(entry)
        except ValidationError as error:
            faults = (
                f"`{'.'.join(map(str, e['loc']))}`: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
            )
            raise BadConfig(f"{path}: {name}: {'; '.join(faults)}") from None
    return found


def overview(config: Config, sets: dict[str, PublicSet]) -> list[dict[str, Any]]:
    """Every data set that covidpipe reads or the papers used, and what is present of it.

    Parameters
    ----------
    config : Config
        Says where local copies lie; ``COVIDPIPE_DATA`` overrides its `data`.
    sets : dict
        Of `declared`.
    """
    rows = []
    for name in dict.fromkeys([*DATASETS, *sets]):
        spec, public = DATASETS.get(name), sets.get(name)
        root = config.source_root(name) if spec else None
        rows.append(
            {
                "name": name,
                "text": public.text if public else spec.text if spec else "",
                "modality": spec.modality if spec else None,
                "readable": spec is not None,
                "tasks": [task for task in TASKS if spec and TRUTH_OF_TASK[task] in spec.truth],
                "truth": list(spec.truth) if spec else [],
                "folder": str(root) if root else None,
                "present": bool(root and root.exists()),
                "papers": public.papers if public else [],
                "used_for": public.used_for if public else [],
                "licence": public.licence if public else spec.licence if spec else "",
                "size": public.size if public else None,
                "origins": public.origins() if public else [],
                "files": [file.model_dump() for file in public.files] if public else [],
                "steps": public.steps if public else [],
                "layout": public.layout if public else None,
                "labels": public.labels if public else None,
                "patients": public.patients if public else None,
            }
        )
    return rows


def missing(config: Config, sets: dict[str, PublicSet]) -> list[str]:
    """One paragraph for each data set that a study trains on or quantifies and that is not there: what to get where."""
    wanted = [recipe.dataset for recipe in config.training.values()]
    wanted += [c.dataset for c in config.cohorts.values() if c.dataset is not None and c.path is None]
    paragraphs = []
    for name in dict.fromkeys(wanted):
        made_here = any(config.source_root(name).is_relative_to(paths.phantoms(config, p)) for p in config.phantoms)
        if config.source_root(name).exists() or made_here:
            continue
        public = sets.get(name)
        origin = ", ".join(public.origins()) or "see its steps" if public else "not public"
        licence = public.licence if public else DATASETS[name].licence
        paragraphs.append(
            f"{name}: {DATASETS[name].text}\n  from {origin}\n  licence: {licence}\n"
            f"  wanted at {config.source_root(name)}; `covidpipe fetch {name}` downloads it or says the steps."
        )
    return paragraphs
