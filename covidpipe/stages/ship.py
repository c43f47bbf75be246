"""Copy trained networks to where the package looks for ``shipped:NAME``."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from covidpipe import paths
from covidpipe.config import Config
from covidpipe.errors import CovidpipeError
from covidpipe.io.files import replacing
from covidpipe.registry import SHIPPED

FILES = ("model.keras", "history.parquet", "run.json", "card.md")

log = logging.getLogger(__name__)


def run(config: Config, out: Path) -> None:
    """Copy the model folder of each recipe that has the name of a shipped network to `out`/NAME.

    Raises
    ------
    CovidpipeError
        No recipe has such a name, or its network is not trained yet.
    """
    names = [name for name in config.training if name in SHIPPED]
    if not names:
        raise CovidpipeError(f"No recipe of this study is called as a shipped network: {', '.join(SHIPPED)}.")
    for name in names:
        folder = paths.model(config, config.training[name])
        missing = [file for file in FILES if not (folder / file).exists()]
        if missing:
            raise CovidpipeError(f"{folder}: {', '.join(missing)} not there. Train it first: snakemake train.")
        with replacing(out / name) as partial:
            partial.mkdir()
            for file in FILES:
                shutil.copyfile(folder / file, partial / file)
        log.info("%s: %.1f MB", name, (out / name / "model.keras").stat().st_size / 1e6)
