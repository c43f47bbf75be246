"""Lungs on films across sources: train on Shenzhen and test on Montgomery, and the reverse; print what was reached.

Run from the project's root: ``python workflow/scripts/measure_sources.py`` (about 20 minutes on two idle cores). The
two sets of cxr-lungs come from two hospitals on two continents: what is learned from one says little of the other's
films, unless the network learned lungs. Both trainings differ in nothing but the direction, have no validation
patients, keep the running mean of the last epoch and mark at 0.5: nothing is chosen by the tested films. Interrupted,
the same command goes on from the last finished epoch. Models, cards and metrics: results/sources.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from covidpipe import paths
from covidpipe.config import Config, load
from covidpipe.io.files import read_frame, read_table, write_table
from covidpipe.io.readable import markdown_table
from covidpipe.schemas import IMAGES, METRICS_SUMMARY, SPLIT
from covidpipe.sealed import unseal
from covidpipe.stages import evaluate, harmonize, ingest, train

SHIPPED = Path("config/real_cxr.yaml")  # where the recipe of the network that ships stands
DATASET = "cxr-lungs"
# Beginning of a file's name -> the fold that is tested: 0 tests Montgomery, 1 Shenzhen; the other one is learned from.
FOLDS = {"MCUCXR": 0, "CHNCXR": 1}
NAMES = {0: "Shenzhen to Montgomery", 1: "Montgomery to Shenzhen"}
SHOWN = ("pooled_dice", "mean_dice_where_present", "mean_hausdorff95_px_where_present")


def study(results: str, **changed: int) -> Config:
    """A config with one recipe for each direction: that of the shipped network, but for the folds.

    Parameters
    ----------
    results : str
    **changed : int
        Of the recipe `image_size`, of the schedule `epochs` and `images_per_epoch`.
    """
    shipped = load(SHIPPED)
    recipe = shipped.training["xr_lungs"].model_dump() | {"validation": "none"}
    schedule = shipped.schedules[recipe["schedule"]].model_dump() | {"keep": "last"}
    for part in (recipe, schedule):
        part |= {key: value for key, value in changed.items() if key in part}
    return Config.model_validate(
        {
            "study": "sources",
            "results": results,
            "folds": len(FOLDS),
            "training": {f"xr_lungs_{fold}": recipe | {"fold": fold} for fold in FOLDS.values()},
            "schedules": {recipe["schedule"]: schedule},
        }
    )


def by_source(images: Iterable[tuple[str, str]]) -> list[dict[str, object]]:
    """Rows of SPLIT: each film a group of its own, its fold that of its source.

    Parameters
    ----------
    images : iterable of (str, str)
        image_id and path.

    Raises
    ------
    SystemExit
        A file has the name of neither source.
    """
    rows = []
    for image_id, path in images:
        source = PurePosixPath(path).name.partition("_")[0]
        if source not in FOLDS:
            raise SystemExit(f"{PurePosixPath(path).name}: wanted a name that begins with {' or '.join(FOLDS)}.")
        rows.append({"image_id": image_id, "group": image_id, "fold": FOLDS[source], "protocol": "grouped"})
    return rows


def main() -> None:
    """Train, test and print both directions."""
    given = argparse.ArgumentParser(description="Lungs on films, from one source to the other.")
    given.add_argument("--results", default="results/sources")
    for name in ("--image-size", "--epochs", "--images-per-epoch"):
        given.add_argument(name, type=int, default=argparse.SUPPRESS, help="instead of the recipe's")
    options = vars(given.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = study(options.pop("results"), **options)
    images, split = paths.images(config, DATASET), paths.split(config, DATASET, "grouped")
    if not images.exists():
        ingest.run(config, DATASET, images)
    table = read_frame(images, IMAGES)
    accepted = table[table["accepted"]]
    films = zip(accepted["image_id"], map(unseal, accepted["path"]), strict=True)
    write_table(split, by_source(films), SPLIT)
    store = paths.harmonized(config, DATASET, config.training["xr_lungs_0"].image_size)
    if not store.exists():
        harmonize.run(config, DATASET, images, config.training["xr_lungs_0"].image_size, store)
    for name, recipe in config.training.items():
        model = paths.model(config, recipe)
        if not model.exists():
            train.run(config, name, store, split, images, model)
        evaluate.run(config, name, model, store, split, images, paths.metrics(config, recipe))
    print(told(config))


def told(config: Config) -> str:
    """Both directions as a table: network and controls."""
    lines = []
    for recipe in config.training.values():
        rows = read_table(paths.metrics(config, recipe) / "summary.parquet", METRICS_SUMMARY).to_pylist()
        for row in rows:
            if row["measure"] in SHOWN and row["value"] is not None:
                ends = None if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
                subject = row["subject"].replace("_", " ") if row["role"] == "control" else f"`{row['subject']}`"
                direction, value = NAMES[recipe.fold], f"{row['value']:.3f}"
                lines.append([direction, subject, row["measure"], value, ends, row["n"]])
    return markdown_table(("direction", "who", "measure", "value", "95 % interval", "films"), lines)


if __name__ == "__main__":
    main()
