"""The networks of a study ranked, what each costs beside how good it is: a table, a page, a figure."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from covidpipe import harmonize, lung_view, paths
from covidpipe.config import Config, Recipe
from covidpipe.inference.engine import LoadedModel, load_model_folder
from covidpipe.io.files import read_json, write_table, write_text
from covidpipe.io.store import Store, open_store
from covidpipe.metrics.summary import MEASURES, Part, Row, label_rows, mask_rows, percent_rows, present_in, score_mask
from covidpipe.paper import figures
from covidpipe.paper.leaderboard import (
    FIGURE,
    Cost,
    Standing,
    control_rows,
    families,
    missing_rows,
    network_rows,
    page,
    pictured,
    read_references,
    reference_rows,
    sees_lungs_alone,
)
from covidpipe.provenance import cores_in_words
from covidpipe.quantify import infection_percent
from covidpipe.quantify.thresholds import adaptive_threshold
from covidpipe.registry import TRUTH_OF_TASK
from covidpipe.schemas import LEADERBOARD
from covidpipe.stages.folds import gathered
from covidpipe.stages.paper_networks import is_evaluated, labelled, test_part
from covidpipe.stages.simple_answers import blind_masks, simple_answers

log = logging.getLogger(__name__)

TIMED, REPEATS = 32, 3  # images, and how often: the shortest counts, the others waited for something else
BATCH = 64
NAME = "leaderboard"


def run(config: Config, out: Path, document: Path | None = None) -> None:
    """Write the leaderboard of a study: what was not run is told as such.

    Parameters
    ----------
    config : Config
        Its grouped recipes; those of a task differ in network, width, regime and fold only.
    out : Path
        Folder of leaderboard.parquet, .csv, .md and the figure (.svg, .png, caption .txt).
    document : Path, optional
        Where the page is written too, its figure beside it as .svg.

    Raises
    ------
    BadConfig
        The recipes of a task are no comparison.
    """
    label = config.paper.label
    rows: list[Row] = []
    found = families(config)
    for (task, dataset), networks in found.items():
        run_here = {
            key: recipes for key, recipes in networks.items() if all(is_evaluated(config, r) for r in recipes.values())
        }
        for recipes in run_here.values():
            rows += network_rows(standing(config, list(recipes.values())), label)
        rows += missing_rows(task, dataset, [model for model, _ in run_here], label)
        if run_here:
            some = list(next(iter(run_here.values())).values())
            rows += control_rows(task, dataset, measured_controls(config, some), len(some), label)
    references = read_references(Path(config.paper.published) / f"{NAME}.csv")
    rows += reference_rows(references, [task for task, _ in found], label)
    table = write_table(out / f"{NAME}.parquet", rows, LEADERBOARD)
    write_text(out / f"{NAME}.csv", table.to_pandas().to_csv(index=False, lineterminator="\n"))
    boards = pictured(rows)
    if boards:
        figures.save(figures.cost_against_quality(boards, label), out / FIGURE, figures.CAPTIONS[FIGURE])
    write_text(out / f"{NAME}.md", page(config, rows, f"{FIGURE}.svg" if boards else None))
    if document is not None:
        picture = document.with_suffix(".svg")
        write_text(document, page(config, rows, picture.name if boards else None))
        if boards:
            shutil.copyfile(out / f"{FIGURE}.svg", picture)


def standing(config: Config, recipes: Sequence[Recipe]) -> Standing:
    """What the folds of one network scored together, and what it costs."""
    log.info("%s, %s: %d folds", recipes[0].task, recipes[0].model, len(recipes))
    scores = {row["measure"]: row for row in gathered(config, recipes)}
    return Standing(recipes[0], len(recipes), scores, cost(config, recipes))


def cost(config: Config, recipes: Sequence[Recipe]) -> Cost:
    """Parameters, operations and CPU time of a network, of its first fold."""
    from covidpipe.models.cost import gflop  # TensorFlow: seconds, and nobody needs it for a page

    folder = paths.model(config, recipes[0])
    store, test = test_part(config, recipes[0])
    images = store.read("image", np.resize(test["n"].to_numpy(int), TIMED))
    fast, plain = load_model_folder(folder, config.engine), load_model_folder(folder, "keras")
    records = [read_json(paths.model(config, recipe) / "run.json") for recipe in recipes]
    return Cost(
        parameters=records[0]["parameters"],
        gflop=gflop(plain.network),
        cpu_ms=1000 * seconds_an_image(fast, images),
        engine=f"{fast.engine}, {cores_in_words()}",
        train_minutes=sum(record["wall_seconds"] for record in records) / 60,
    )


def seconds_an_image(network: LoadedModel, images: np.ndarray) -> float:
    """Time of one image among many: the best of some runs, after one that warms up.

    Parameters
    ----------
    network : LoadedModel
    images : ndarray of uint8, (n, rows, columns)
    """
    network.predict(images)
    took = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        network.predict(images)
        took.append(time.perf_counter() - started)
    return min(took) / len(images)


def measured_controls(config: Config, recipes: Sequence[Recipe]) -> dict[str, dict[str, Row]]:
    """Every control of a task over the test parts of some folds: by name, rows of METRICS_SUMMARY by measure."""
    of_folds = [_of_labels(config, r) if r.task == "classify" else _of_masks(config, r) for r in recipes]
    names = [name for name in of_folds[0][1] if all(name in answers for _, answers in of_folds)]
    part = Part(np.concatenate([test["group"].to_numpy(str) for test, _ in of_folds]), config.seed)
    found = {}
    for name in names:
        answers = pd.concat([by_name[name] for _, by_name in of_folds], ignore_index=True)
        if recipes[0].task == "classify":
            said, truth = answers["said"].to_numpy(float), answers["truth"].to_numpy(bool)
            rows = label_rows(part, said, answers["found"].to_numpy(bool), truth)
        else:
            scores = answers[list(MEASURES)]
            rows = mask_rows(part, scores)
            if recipes[0].task == "segment_infection":
                rows += percent_rows(part, answers[["percent", "true_percent"]].to_numpy(float), present_in(scores))
        found[name] = {row["measure"]: row for row in rows}
    return found


Answers = tuple[pd.DataFrame, Mapping[str, pd.DataFrame]]  # rows of a test part, and by control a row an image


def _of_labels(config: Config, recipe: Recipe) -> Answers:
    store, parts = labelled(config, recipe)
    truth = parts["test"]["label"].to_numpy(bool)
    said: dict[str, tuple[np.ndarray, float]] = {"always_positive": (np.ones(len(truth)), 0.5)}
    for name, answer in simple_answers(store, parts, config.seed):
        if not isinstance(answer, str):
            said[name] = answer
    return parts["test"], {
        name: pd.DataFrame({"said": values, "found": values >= least, "truth": truth})
        for name, (values, least) in said.items()
    }


def _of_masks(config: Config, recipe: Recipe) -> Answers:
    """Masks that are painted without a look at the image, and, of infection, a threshold inside the true lungs."""
    store, parts = labelled(config, recipe)
    mask, test = TRUTH_OF_TASK[recipe.task], parts["test"]
    painted = blind_masks(store, parts["train"], mask)
    fine = None
    if recipe.task == "segment_infection":
        fine = open_store(paths.harmonized(config, recipe.dataset, config.harmonize.source_size))
    scores: dict[str, list[Row]] = {}
    shown = _in_view if sees_lungs_alone(recipe) else _in_frame
    for name, window, found, truth, lung in _painted(config, store, fine, test, mask, painted, shown):
        row: Row = dict(score_mask(found[window], truth[window]))
        row |= {"percent": infection_percent(found, lung), "true_percent": infection_percent(truth, lung)}
        scores.setdefault(name, []).append({key: np.nan if v is None else v for key, v in row.items()})
    return test, {name: pd.DataFrame(rows) for name, rows in scores.items()}


def _painted(
    config: Config,
    store: Store,
    fine: Store | None,
    test: pd.DataFrame,
    mask: str,
    painted: Mapping[str, np.ndarray],
    shown: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
) -> Iterator[tuple[str, tuple[slice, slice], np.ndarray, np.ndarray, np.ndarray]]:
    """Name of each control, where the image lies, what is marked, the truth and the lungs, image by image."""
    place = {} if fine is None else dict(zip(fine.index["image_id"], fine.index["n"], strict=True))
    for start in range(0, len(test), BATCH):
        some = test.iloc[start : start + BATCH]
        truths, lungs = (store.read(name, some["n"].to_numpy(int)) > 0 for name in (mask, "lung_mask"))
        for row, truth, lung in zip(some.itertuples(), truths, lungs, strict=True):
            window = slice(row.top, row.top + row.height), slice(row.left, row.left + row.width)
            for name, found in painted.items():
                yield name, window, found, truth, lung
            if fine is None:
                continue
            yield "all_lung", window, lung, truth, lung
            at = np.array([place[row.image_id]])
            image, inside = fine.read("image", at)[0], fine.read("lung_mask", at)[0] > 0
            marked = adaptive_threshold(image, inside, config.threshold)
            yield "threshold", window, shown(marked, inside, store.size), truth, lung


def _in_frame(marked: np.ndarray, lung: np.ndarray, size: int) -> np.ndarray:
    """What is marked in the whole frame, (size, size), as a network sees it that is shown the frame."""
    return harmonize.nearest(marked, size, size)


def _in_view(marked: np.ndarray, lung: np.ndarray, size: int) -> np.ndarray:
    """The same as a network sees it that is shown the lungs alone."""
    return lung_view.view_mask(marked, lung_view.around(lung), size)
