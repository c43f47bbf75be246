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

FILES = ("model.keras", "history.parquet", "run.json")
CARD = "card.md"

log = logging.getLogger(__name__)


def run(config: Config, out: Path) -> None:
    """Copy the model folder of each recipe that has the name of a shipped network to `out`/NAME.

    With them goes what their methods find in lesion-free images, as `out`/reference-MODALITY.json. The card is that of
    the evaluation: it tells the results on the patients the network was tested on.

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
        folder, card = paths.model(config, recipe), paths.metrics(config, recipe) / CARD
        missing = [file for file in (*(folder / f for f in FILES), card) if not file.exists()]
        if missing:
            raise CovidpipeError(
                f"{name}: {', '.join(map(str, missing))} not there. Train and evaluate it first: snakemake evaluate."
            )
        with replacing(out / name) as partial:
            partial.mkdir()
            for file in FILES:
                shutil.copyfile(folder / file, partial / file)
            shutil.copyfile(card, partial / CARD)
        log.info("%s: %.1f MB", name, (out / name / "model.keras").stat().st_size / 1e6)
    for modality in sorted({SHIPPED[name][1] for name in names}):
        reference = paths.reference(config, modality)
        if reference.exists():
            shutil.copyfile(reference, out / f"reference-{modality}.json")
