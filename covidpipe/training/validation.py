"""How good a network is on the validation part, batch by batch: what the best epoch and threshold are chosen by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from covidpipe.inference.batched import batch_probabilities
from covidpipe.metrics import classification
from covidpipe.training.labelled import Labelled

# Thresholds among which the best is chosen. Compared as float32, as the networks' answers are.
THRESHOLDS = np.round(np.arange(0.05, 1.0, 0.05), 2)


@dataclass(frozen=True)
class Verdict:
    """What one epoch is worth: `measures` for the history, of which ``score`` decides (larger is better)."""

    measures: dict[str, float]
    threshold: float

    @property
    def score(self) -> float:
        return self.measures["score"]


class MaskCounts:
    """Pixels found at each threshold, summed over batches: all that pooled Dice needs, whatever the number of images.

    Examples
    --------
    >>> counts = MaskCounts()
    >>> counts.add(np.array([[0.9, 0.4]], np.float32), np.array([[1, 0]], np.uint8))
    >>> counts.dice()[[0, 9]].round(3).tolist(), counts.threshold()  # at 0.05 and at 0.50
    ([0.667, 1.0], 0.5)
    """

    def __init__(self) -> None:
        self.found = np.zeros(len(THRESHOLDS), np.int64)
        self.right = np.zeros(len(THRESHOLDS), np.int64)
        self.true = 0

    def add(self, probability: np.ndarray, truth: np.ndarray) -> None:
        """Count a batch: probabilities float32 and their truth, 0 and 1, of one shape."""
        inside = probability[truth > 0]
        self.true += inside.size
        for i, threshold in enumerate(THRESHOLDS.astype(np.float32)):
            self.found[i] += np.count_nonzero(probability >= threshold)
            self.right[i] += np.count_nonzero(inside >= threshold)

    def dice(self) -> np.ndarray:
        """Pooled Dice at each threshold; 1 where nothing is to be found and nothing is found."""
        pixels = self.found + self.true
        return np.where(pixels > 0, 2 * self.right / np.maximum(pixels, 1), 1.0)

    def threshold(self) -> float:
        """The threshold with the largest pooled Dice."""
        return middle_of_best(self.dice())


def middle_of_best(scores: np.ndarray) -> float:
    """The threshold of the largest of `scores`, one for each of `THRESHOLDS`; of equals, the nearest to 0.5."""
    best = THRESHOLDS[np.isclose(scores, np.max(scores), atol=1e-9)]
    return float(best[np.argmin(np.abs(best - 0.5))])


def judge_labels(probability: np.ndarray, truth: np.ndarray) -> Verdict:
    """The score is the ROC AUC, or minus the loss where only one class is there; balanced accuracy sets the threshold.

    Parameters
    ----------
    probability : ndarray of float32, (n,)
    truth : ndarray of uint8, (n,)
    """
    loss = classification.cross_entropy(probability, truth)
    area = classification.roc_auc(probability, truth)
    accuracies = [
        classification.balanced_accuracy(probability >= t, truth > 0) or 0.0 for t in THRESHOLDS.astype(np.float32)
    ]
    return Verdict({"loss": loss, "score": -loss if area is None else area}, middle_of_best(np.array(accuracies)))


def judge(
    model: keras.Model,
    validation: Labelled,
    channels: int,
    batch_size: int = 16,
    between: Callable[[], None] = lambda: None,
) -> Verdict:
    """Run a network over the validation part; for masks, neither they nor the answers are held in memory together.

    Parameters
    ----------
    model : keras.Model
    validation : Labelled
    channels : int
        Of the network's input.
    batch_size : int
    between : function
        Called between the batches; may raise.

    Returns
    -------
    Verdict
        For masks, the score is the pooled Dice at the threshold that serves it best.
    """
    counts, answers = MaskCounts(), np.empty(len(validation), np.float32)
    of_labels = isinstance(validation.truth, np.ndarray) and validation.truth.ndim == 1
    for place, probability in batch_probabilities(model, validation.images, channels, batch_size):
        between()
        if of_labels:
            answers[place] = probability
        else:
            counts.add(probability, validation.truth[place])
    if of_labels:
        return judge_labels(answers, validation.truth)
    return Verdict({"score": float(counts.dice().max())}, counts.threshold())
