"""What a figure's margin does to a score: Khan et al.'s own weights and a painter of margins on their test frames."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.config import Config
from covidpipe.io.files import replacing, write_json
from covidpipe.io.frames import WEIGHTS, read_frame, read_masks
from covidpipe.io.readable import write_three
from covidpipe.metrics import counts
from covidpipe.metrics.boundary import boundary_f, default_tolerance
from covidpipe.metrics.counts import Counts
from covidpipe.metrics.intervals import PatientBootstrap
from covidpipe.models.released import released_cov_raseg
from covidpipe.paper import figures
from covidpipe.paper.frames import SCORINGS, confusions, ct_box, margin
from covidpipe.paper.published import read_published, released_iou
from covidpipe.provenance import device_name, prepare_backend, run_record
from covidpipe.schemas import PAPER_FRAMES

log = logging.getLogger(__name__)

AUTHORS, PAINTER = "released weights", "border painter"
# Subject and measure, in the words of Table 5, and how it follows from the pixels of all frames together.
POOLED = {
    ("infected", "dice"): counts.f_score,
    ("infected", "iou"): counts.iou,
    ("infected", "accuracy"): counts.recall,
    ("background", "dice"): lambda c: counts.f_score(counts.of_background(c)),
    ("background", "iou"): lambda c: counts.iou(counts.of_background(c)),
    ("background", "accuracy"): counts.specificity,
    ("all", "global_accuracy"): counts.accuracy,
    ("all", "mean_accuracy"): counts.balanced_accuracy,
    ("all", "mean_iou"): counts.mean_iou,
    ("all", "weighted_iou"): counts.weighted_iou,
}
EXAMPLES = 3


def run(config: Config, out: Path) -> None:
    """Score both, in each scoring, and draw what is counted.

    Parameters
    ----------
    config : Config
        Says where ``khan2020`` lies.
    out : Path
        Folder of frames.parquet (and .csv, .md), the figure border_effect and run.json.
    """
    started = time.time()
    prepare_backend(config.seed)
    root = config.source_root("khan2020")
    published = read_published(Path(config.paper.published) / "khan2020.csv")
    numbers, masks = read_masks(root, "test")
    _, training = read_masks(root, "train")
    box = ct_box(masks)
    model = released_cov_raseg(root / WEIGHTS)
    log.info("the authors' weights on %d frames", len(numbers))
    images = (read_frame(root, number) for number in numbers)
    authors = np.stack([np.asarray(model(image[np.newaxis] / np.float32(255)))[0, ..., 1] > 0.5 for image in images])
    answers = {AUTHORS: authors, PAINTER: margin(training)}
    rows = [row for name, found in answers.items() for row in frame_rows(name, found, masks, box, config.seed)]
    facts = run_record(
        "frames",
        seed=config.seed,
        started=started,
        images=len(numbers),
        training_masks=len(training),
        device=device_name(),
        margin_share=float(answers[PAINTER].mean()),
    )
    infected = masks[(slice(None), *box)] > 127
    largest = np.argsort(infected.sum(axis=(1, 2)))[[len(masks) // 4, len(masks) // 2, -1]]
    with replacing(out) as folder:
        folder.mkdir(parents=True)
        write_three(folder / "frames", rows, PAPER_FRAMES, HEADING)
        shown = [(read_frame(root, numbers[i]), masks[i], authors[i]) for i in largest[:EXAMPLES]]
        figures.save(
            figures.border_effect(rows, shown, answers[PAINTER], released_iou(published).value),
            folder / "border_effect",
            figures.CAPTIONS["border_effect"],
        )
        write_json(folder / "run.json", facts)


HEADING = """# The margin of a figure, counted as infected lung

The authors' released CoV-RASeg, and a painter that marks only what is white in every training mask and never looks for
a lesion, on the authors' test frames. Intervals are 95 %, by drawing frames again; of whom each is, is not told."""


def frame_rows(
    name: str, found: np.ndarray, masks: np.ndarray, box: tuple[slice, slice], seed: int
) -> list[dict[str, object]]:
    """Rows of PAPER_FRAMES for one answer, in every scoring.

    Parameters
    ----------
    name : str
    found : ndarray of bool, (n, rows, columns) or (rows, columns)
    masks : ndarray of uint8, (n, rows, columns)
    box : tuple of slice
    seed : int
        Of the draws.
    """
    draws = PatientBootstrap(np.arange(len(masks)), seed=seed)
    rows: list[dict[str, object]] = []

    def add(scoring: str, subject: str, measure: str, value: float, ends: tuple | None) -> None:
        low, high, how = ends if ends is not None else (None, None, None)
        rows.append(
            {
                "answer": name,
                "scoring": scoring,
                "subject": subject,
                "measure": measure,
                "value": float(value),
                "low": low,
                "high": high,
                "n": len(masks),
                "interval": how and how.replace("patients", "frames"),
            }
        )

    for scoring in SCORINGS:
        table = confusions(found, masks, scoring, box).astype(float)
        for (subject, measure), score in POOLED.items():
            value = score(Counts(*table.sum(axis=0)))
            add(scoring, subject, measure, float(value), draws.of_sums(table, _of(score), (0.0, 1.0)))
        each = counts.f_score(Counts(*table.T))
        told = np.isfinite(each)
        ends = draws.of_sums(np.column_stack([np.where(told, each, 0), told]), _mean, (0.0, 1.0))
        add(scoring, "infected", "mean_dice_of_frames", float(each[told].mean()), ends)
        if scoring != "full_frame_exact":  # outlines need every pixel
            window = box if scoring == "inside_ct" else (slice(None), slice(None))
            for subject, scores in _outlines(found, masks, window).items():
                told = np.isfinite(scores)
                ends = draws.of_sums(np.column_stack([np.where(told, scores, 0), told]), _mean, (0.0, 1.0))
                add(scoring, subject, "boundary_f", float(scores[told].mean()), ends)
    return rows


def _of(score: Any) -> Any:
    return lambda sums: score(Counts(*sums.T))


def _mean(sums: np.ndarray) -> np.ndarray:
    return counts.ratio(sums[:, 0], sums[:, 1])


def _outlines(found: np.ndarray, masks: np.ndarray, window: tuple[slice, slice]) -> dict[str, np.ndarray]:
    """Boundary F of each frame, by class; NaN where neither mask has the class."""
    found = np.broadcast_to(found, masks.shape)
    scores: dict[str, list[float]] = {"infected": [], "background": []}
    for answer, mask in zip(found, masks, strict=True):
        inside, truth = answer[window], mask[window] > 127
        tolerance = default_tolerance(truth.shape)
        for subject, pair in (("infected", (inside, truth)), ("background", (~inside, ~truth))):
            score = boundary_f(*pair, tolerance)
            scores[subject].append(np.nan if score is None else score)
    return {subject: np.array(values) for subject, values in scores.items()}
