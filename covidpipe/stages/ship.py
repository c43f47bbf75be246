"""Copy trained networks to where the package looks for ``shipped:NAME``."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from covidpipe import paths
from covidpipe.config import Config
from covidpipe.errors import CovidpipeError
from covidpipe.io.files import read_table, replacing
from covidpipe.registry import SHIPPED
from covidpipe.schemas import METRICS_SUMMARY
from covidpipe.training.card import with_test_results

FILES = ("model.keras", "history.parquet", "run.json")
CARD, SUMMARY = "card.md", "summary.parquet"

log = logging.getLogger(__name__)


def run(config: Config, out: Path) -> None:
    """Copy the model folder of each recipe that has the name of a shipped network to `out`/NAME.

    The card is given the network's results on the patients it was tested on.

    Raises
    ------
    CovidpipeError
        No recipe has such a name, or its network is not trained and evaluated yet.
    """
    names = [name for name in config.training if name in SHIPPED]
    if not names:
        raise CovidpipeError(f"No recipe of this study is called as a shipped network: {', '.join(SHIPPED)}.")
    for name in names:
        recipe = config.training[name]
        folder, summary = paths.model(config, recipe), paths.metrics(config, recipe) / SUMMARY
        missing = [file for file in (*(folder / f for f in (*FILES, CARD)), summary) if not file.exists()]
        if missing:
            raise CovidpipeError(
                f"{name}: {', '.join(map(str, missing))} not there. Train and evaluate it first: snakemake evaluate."
            )
        with replacing(out / name) as partial:
            partial.mkdir()
            for file in FILES:
                shutil.copyfile(folder / file, partial / file)
            results = read_table(summary, METRICS_SUMMARY).to_pylist()
            card = with_test_results((folder / CARD).read_text(encoding="utf-8"), results)
            (partial / CARD).write_text(card, encoding="utf-8")
        log.info("%s: %.1f MB", name, (out / name / "model.keras").stat().st_size / 1e6)
