"""Copy trained networks to where the package looks for ``shipped:NAME``."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from covidpipe import paths
from covidpipe.config import Config
from covidpipe.errors import CovidpipeError
from covidpipe.io.files import read_json, replacing, write_text
from covidpipe.registry import SHIPPED
from covidpipe.training.results_card import intervals_section, with_intervals

FILES = ("model.keras", "history.parquet", "run.json")
CARD = "card.md"

log = logging.getLogger(__name__)


def run(config: Config, out: Path) -> None:
    """Copy the model folder of each recipe that has the name of a shipped network to `out`/NAME.

    With them goes what their methods find in lesion-free images, as `out`/reference-MODALITY.json, and how far they are
    off, as `out`/conformal-MODALITY.json. The card is that of the evaluation: it tells the results on the patients the
    network was tested on, and how often intervals held the truth.

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
        calibration = paths.conformal(config, modality)
        if calibration.exists():
            shutil.copyfile(calibration, out / f"conformal-{modality}.json")
            update_cards(out, [calibration])


def update_cards(folder: Path, files: Iterable[Path]) -> None:
    """Write the coverage that calibration files tell into the cards of the networks that took part.

    Parameters
    ----------
    folder : Path
        Of model folders, each with run.json and card.md.
    files : iterable of Path
        As `run` writes them.
    """
    methods = [(name, told) for file in files for name, told in read_json(file)["methods"].items()]
    for card in sorted(folder.glob(f"*/{CARD}")):
        trained = read_json(card.parent / "run.json")
        name = f"{trained['recipe']['model']}@{trained['weights_sha256'][:12]}"
        own = [(m, told) for m, told in methods if any(i.startswith(name) for i in told["models"].values())]
        if own:
            text = with_intervals(card.read_text(encoding="utf-8"), intervals_section(own))
            write_text(card, text)
