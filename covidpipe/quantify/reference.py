"""Where a percentage lies among those that a method finds in lungs without a lesion.

A method finds something in healthy lungs too: vessels, the hilum, the rim of a mask. So each composition of networks
and settings has its own reference: its percentages on the lesion-free images of its networks' data sets that no network
of it was trained on. It is told only for exactly that composition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from covidpipe.config import Config

# With the image itself they are twenty: fewer cannot tell a place among the highest 5 %.
FEWEST = 19
# What decides about a method's percentages besides its networks: keys of the config.
DECIDING = {
    "khan2020": ("harmonize", "segment"),
    "alom2020": ("harmonize", "threshold"),
    "fusion": ("harmonize", "threshold"),
}
MODEL_COLUMNS = {
    "classify": "classifier_id",
    "segment_lungs": "lung_model_id",
    "segment_infection": "infection_model_id",
}


@dataclass(frozen=True)
class Composition:
    """Networks and settings of one method: what was measured with them holds for exactly them.

    Parameters
    ----------
    models : mapping of task to model id
    settings : mapping
        As `deciding_settings` gives them.
    """

    models: Mapping[str, str]
    settings: Mapping[str, Any]

    def fits(self, found: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
        """True if a row of the mask index was found by this composition; a network that took no part is no matter."""
        used = {task: found[column] for task, column in MODEL_COLUMNS.items() if found[column] is not None}
        return bool(used) and used.items() <= self.models.items() and self.settings == settings


@dataclass(frozen=True)
class Reference(Composition):
    """The percentages of one method on lesion-free images.

    Parameters
    ----------
    models, settings
        As in `Composition`.
    percents : tuple of float
    images, patients : int
        How many they are of; patients that are not known count by image.
    datasets : tuple of str
    """

    percents: tuple[float, ...]
    images: int
    patients: int
    datasets: tuple[str, ...]

    def percentile(self, percent: float) -> float:
        """Share of the reference images with a lower percentage, those with the same counted half.

        >>> reference = Reference({}, {}, (0.0, 0.0, 1.0, 4.0), 4, 1, ())
        >>> reference.percentile(0.0), reference.percentile(2.0), reference.percentile(50.0)
        (25.0, 75.0, 100.0)
        """
        values = np.asarray(self.percents)
        return float(100 * (np.count_nonzero(values < percent) + np.count_nonzero(values == percent) / 2) / len(values))


def deciding_settings(config: Config, method: str) -> dict[str, Any]:
    """The settings that decide about a method's percentages, as they are written beside its reference."""
    return config.model_dump(mode="json", include=set(DECIDING[method]))


def references_of(stored: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Reference]]:
    """References by modality and method, from the content of their files."""
    found: dict[tuple[str, str], list[Reference]] = {}
    for one in stored:
        for method, told in one["methods"].items():
            sequences = {name: tuple(told[name]) for name in ("percents", "datasets")}
            found.setdefault((one["modality"], method), []).append(Reference(**{**told, **sequences}))
    return found
