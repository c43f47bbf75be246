"""Whether an engine finds what Keras finds: in bfloat16, asked of the cohort's own images before any is computed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.config import Config
from covidpipe.errors import CovidpipeError
from covidpipe.inference.cohorts import Networks, findings, load_networks, networks_of
from covidpipe.inference.engine import LoadedModel, Network
from covidpipe.inference.methods import Finding
from covidpipe.inference.openvino import TRIALS, bfloat16_instructions
from covidpipe.io.files import cache_folder, read_json, write_json
from covidpipe.io.shards import spread
from covidpipe.metrics.segmentation import dice_of_counts, overlap
from covidpipe.provenance import code_fingerprint
from covidpipe.quantify.percentages import infection_percent
from covidpipe.quantify.reference import deciding_settings

log = logging.getLogger(__name__)

LEAST_DICE = 0.999
MOST_POINTS_APART = 0.05
IMAGES = 24

Pair = tuple[Mapping[str, Any], Finding, Finding]  # an image's row, what was found in it, and what Keras finds


@dataclass(frozen=True)
class Agreement:
    """How far what an engine finds is from what Keras finds in the same images; null is what was not compared.

    Parameters
    ----------
    modality, method : str
    engine, precision : str
        What was compared with Keras; the precision is bfloat16 if that of any network is.
    compared_on : str
    images : int
    largest_difference : dict of str to float
        Of a probability, by task; every network is given what Keras' found before it.
    lung_dice, infection_dice : float, optional
        Of the masks, pixels of all images together; None if there are none.
    infection_points_apart : float, optional
        The largest difference of an image's `infection_percent`, in percentage points.
    """

    modality: str
    method: str
    engine: str
    precision: str
    compared_on: str
    images: int
    largest_difference: dict[str, float]
    lung_dice: float | None = None
    infection_dice: float | None = None
    infection_points_apart: float | None = None

    def refusal(self) -> str | None:
        """What is too far apart, or None if nothing is."""
        wrong = [
            f"{name} masks' Dice is {dice:.4f} (at least {LEAST_DICE:g} is wanted)"
            for name, dice in (("lung", self.lung_dice), ("infection", self.infection_dice))
            if dice is not None and not dice >= LEAST_DICE
        ]
        apart = self.infection_points_apart
        if apart is not None and not apart <= MOST_POINTS_APART:
            wrong.append(f"infection_percent differs by up to {apart:.2g} points ({MOST_POINTS_APART:g} are allowed)")
        return f"{self.method}, {self.images} images of {self.compared_on}: {', '.join(wrong)}" if wrong else None


def agreed(
    cohort: str, images: Path, root: Path, wanted: Mapping[str, Sequence[str]], networks: Networks, config: Config
) -> list[Agreement]:
    """How the networks of a cohort agree with Keras, by modality and method; nothing is told of what Keras computes.

    In float32 that is what was found when their OpenVINO form was derived. In bfloat16 the methods are run by both on
    `IMAGES` images of the cohort; that is done once and kept in the user's cache.

    Parameters
    ----------
    cohort : str
    images : Path
        The cohort's ``images.parquet``.
    root : Path
        Folder that their paths are relative to.
    wanted : mapping of modality to methods
    networks : mapping
        As `load_networks` gives them.
    config : Config

    Raises
    ------
    CovidpipeError
        What bfloat16 finds is too far from what Keras finds.
    """
    found: list[Agreement] = []
    for modality, of_task in networks.items():
        rounded = [method for method in wanted[modality] if _precision(method, modality, networks) != "float32"]
        found += _as_derived(modality, [method for method in wanted[modality] if method not in rounded], networks)
        if rounded:
            rows = spread(images, modality, IMAGES)
            found += _once(cohort, rows, root, {modality: rounded}, {modality: of_task}, config)
    refused = [sentence for one in found if (sentence := one.refusal())]
    if refused:
        raise CovidpipeError(
            f"engine: {config.engine} does not find what Keras finds. {'; '.join(refused)}. Set `engine: openvino`."
        )
    return found


def _precision(method: str, modality: str, networks: Networks) -> str:
    """What a method's networks compute in; of several, the one that is not float32."""
    used = {network.precision for network in networks_of(method, modality, networks).values()}
    return next(iter(used - {"float32"}), "float32")


def _as_derived(modality: str, methods: Iterable[str], networks: Networks) -> list[Agreement]:
    found = []
    for method in methods:
        some = networks_of(method, modality, networks)
        apart = {task: one.largest_difference for task, one in some.items() if one.largest_difference is not None}
        if apart:
            one = some[min(apart)]
            found.append(Agreement(modality, method, one.engine, one.precision, "trial images", TRIALS, apart))
    return found


def _once(
    cohort: str,
    rows: Sequence[dict[str, Any]],
    root: Path,
    wanted: Mapping[str, Sequence[str]],
    networks: Networks,
    config: Config,
) -> list[Agreement]:
    """`compare`, or what it found before of the same pixels, networks, settings, code and processor."""
    decides = {
        "images": [(row["pixel_sha256"], row["intensity"]) for row in rows],
        "methods": {method: deciding_settings(config, method) for some in wanted.values() for method in some},
        "networks": [
            (modality, task, one.model_id, one.engine, one.precision)
            for modality, of_task in networks.items()
            for task, one in sorted(of_task.items())
        ],
        "processor": bfloat16_instructions(),
        "code": code_fingerprint("predict"),
    }
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    kept = cache_folder() / "agreement" / f"{key[:32]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [Agreement(**{**one, "compared_on": f"cohort {cohort}"}) for one in read_json(kept)]
    found = compare(cohort, rows, root, wanted, networks, config)
    with contextlib.suppress(OSError):  # every job then compares anew
        write_json(kept, [asdict(one) for one in found])
    return found


def compare(
    cohort: str,
    rows: Sequence[dict[str, Any]],
    root: Path,
    wanted: Mapping[str, Sequence[str]],
    networks: Networks,
    config: Config,
) -> list[Agreement]:
    """Run the methods on images by the given networks and by Keras', and say how far they are apart.

    Keras' look at the whole frame, whatever parts of it the others are asked for.

    Parameters
    ----------
    cohort : str
        Whose images they are.
    rows : sequence of dict
        Accepted rows of the image table.
    root : Path
        Folder that their paths are relative to.
    wanted : mapping of modality to methods
    networks : mapping
        As `load_networks` gives them.
    config : Config
    """
    plain = load_networks(config.model_copy(update={"engine": "keras"}), networks, wanted)
    beside = {
        modality: {task: _beside(one, networks[modality][task]) for task, one in of_task.items()}
        for modality, of_task in plain.items()
    }
    log.info("%d images by Keras as well, to compare", len(rows))
    told: dict[tuple[str, str], list[Pair]] = {}
    both = zip(
        findings(rows, root, wanted, networks, config), findings(rows, root, wanted, beside, config), strict=True
    )
    for (row, found), (_, expected) in both:
        for method, finding in found.items():
            if "unreadable" in finding.reasons:
                continue
            told.setdefault((row["modality"], method), []).append((row, finding, expected[method]))
    return [
        _summed(cohort, modality, method, pairs, networks, beside) for (modality, method), pairs in sorted(told.items())
    ]


class _Beside:
    """A network that asks another one as well, and keeps how far their probabilities were apart."""

    def __init__(self, network: Network, other: Network):
        self.network, self.other, self.output_shape, self.apart = network, other, network.output_shape, 0.0

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        said = np.asarray(self.network.predict_on_batch(images), np.float32)
        real = images.any(axis=(1, 2, 3))  # batches are filled up with empty ones
        apart = np.abs(self.other.predict_on_batch(images[real]) - said[real])
        self.apart = max(self.apart, float(apart.max(initial=0)))
        return said


def _beside(plain: LoadedModel, other: LoadedModel) -> LoadedModel:
    return replace(plain, network=_Beside(plain.network, other.network), parts_of_frame=None)


def _summed(
    cohort: str, modality: str, method: str, pairs: Sequence[Pair], networks: Networks, beside: Networks
) -> Agreement:
    asked = networks_of(method, modality, beside)
    return Agreement(
        modality,
        method,
        next(iter(networks_of(method, modality, networks).values())).engine,
        _precision(method, modality, networks),
        f"cohort {cohort}",
        len(pairs),
        {task: loaded.network.apart for task, loaded in asked.items()},  # type: ignore[attr-defined]
        _dice((found.lung_mask, expected.lung_mask) for _, found, expected in pairs),
        _dice((found.infection_mask, expected.infection_mask) for _, found, expected in pairs),
        max(_points_apart(*pair) for pair in pairs),
    )


def _dice(masks: Iterable[tuple[np.ndarray, np.ndarray]]) -> float | None:
    both, found, expected = np.sum([overlap(*two) for two in masks], axis=0).tolist()
    return dice_of_counts(both, found, expected)


def _points_apart(row: Mapping[str, Any], found: Finding, expected: Finding) -> float:
    """Of an image's percentage, as the table has it; all there are if one alone sees lungs."""
    percent, wanted = (
        infection_percent(infection, lung)
        for lung, infection in (one.to_native(row["rows"], row["columns"]) for one in (found, expected))
    )
    if percent is None or wanted is None:
        return 0.0 if percent is wanted else 100.0
    return abs(percent - wanted)
