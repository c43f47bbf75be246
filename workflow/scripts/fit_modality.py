"""Fit the coefficients of `covidpipe.modality` on the real images and write covidpipe/io/modality.json.

Run from the project's root: ``python workflow/scripts/fit_modality.py`` (COVIDPIPE_DATA as everywhere).
Held out and never seen here: ct-lungs, cxr-lungs/native512, coronacases volumes 5 and up, a third of the patients of
covid-cxr.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from covidpipe import phantoms
from covidpipe.datasets import coronacases, covid_cxr, cxr_lungs, medseg829
from covidpipe.errors import BadInput
from covidpipe.io.read import read_image
from covidpipe.modality import COEFFICIENTS, SIDE, features

SEED = 20201122
EACH = 200  # images of a dataset: none outweighs the others
PHANTOMS = 16  # synthetic patients
COPIES = 6  # augmented copies of an image


def augmented(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What uploaders do to images: turn, mirror, invert, crop, frame, and change the window."""
    image = image.astype(np.float64)
    if image.min() < -200:  # Hounsfield units: lung, soft tissue and bone windows
        level, half = random.uniform(-700, 500), random.uniform(200, 1200)
        image = np.clip(image, level - half, level + half)
    image = (image - image.min()) / (image.max() - image.min())
    rows, columns = image.shape
    if random.random() < 0.5:
        cut = random.integers(0, 1 + int(0.2 * min(rows, columns)), 4)
        image = image[cut[0] : rows - cut[1], cut[2] : columns - cut[3]]
    if random.random() < 0.3:
        image = image[:, ::-1]
    if random.random() < 0.1:
        image = np.rot90(image, random.integers(1, 4))
    if random.random() < 0.5:  # another window: lungs may be black in it, bones white
        low, high = random.uniform(0, 0.6), random.uniform(0.7, 1.0)
        image = np.clip((image - low) / (high - low), 0.0, 1.0)
    if random.random() < 0.4:  # cropped to what is not dark
        rows, columns = (np.flatnonzero((image > 0.1).mean(axis=axis) > 0.02) for axis in (1, 0))
        if min(len(rows), len(columns)) > SIDE:
            image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    image = image ** random.uniform(0.6, 1.6)
    if random.random() < 0.15:
        image = 1.0 - image
    if random.random() < 0.3:
        width = random.integers(0, 1 + int(0.15 * min(image.shape)), 4)
        image = np.pad(image, ((width[0], width[1]), (width[2], width[3])), constant_values=random.integers(0, 2))
    return image


def images(data: Path, random: np.random.Generator) -> list[tuple[Path, str]]:
    """Files to learn from, and their modality."""
    covid = [r for r in covid_cxr.records(data / "covid-cxr") if sum((r.patient or "").encode()) % 3]
    native = {path.name for path in (data / "cxr-lungs" / "native512" / "images").iterdir()}
    groups = {
        "medseg829": medseg829.records(data / "medseg829"),
        "coronacases": [r for r in coronacases.records(data / "coronacases") if r.patient < "coronacases/5"],
        "cxr-lungs": [r for r in cxr_lungs.records(data / "cxr-lungs") if Path(r.path).name not in native],
        "covid-cxr": covid,
    }
    # Hounsfield units: soft tissue windows, which no 8-bit lung window can be turned into.
    odd = [(path, "ct") for path in sorted((data / "dicom-odd" / "ct_chest_tcga_tcia").iterdir())] * 5
    found = odd + [
        (data / name / r.path, r.modality or "") for name, group in groups.items() for r in _some(group, random)
    ]
    children = sorted((data / "kermany" / "train").rglob("*.jpeg"))
    return odd + found + [(path, "xr") for path in _some(children, random)]


def arrays(data: Path, random: np.random.Generator) -> Iterator[tuple[np.ndarray, str]]:
    """Real images; those that ingest would refuse are left out."""
    for path, modality in images(data, random):
        try:
            yield read_image(path, modality=modality).array, modality
        except BadInput:
            continue


def drawn() -> Iterator[tuple[np.ndarray, str]]:
    """Synthetic chests: the same bodies as slices and as films."""
    for seed in range(PHANTOMS):
        phantom = phantoms.phantom_volume(seed, size=128, slices=8)
        yield from ((image, "ct") for image in phantom.hu)
        yield phantoms.project(phantom).image, "xr"


def _some(items: list, random: np.random.Generator) -> list:
    return [items[i] for i in sorted(random.choice(len(items), min(EACH, len(items)), replace=False))]


def main() -> None:
    random = np.random.default_rng(SEED)
    data = Path(os.environ.get("COVIDPIPE_DATA") or "../shared/data")
    rows, truth = [], []
    for array, modality in (*arrays(data, random), *drawn()):
        for copy in range(1 + COPIES):
            rows.append(features(augmented(array, random) if copy else array))
            truth.append(modality == "ct")
    table = np.array(rows)
    mean, scale = table.mean(axis=0), np.maximum(table.std(axis=0), 1e-3)
    model = LogisticRegression(C=0.2, class_weight="balanced", max_iter=2000).fit((table - mean) / scale, truth)
    numbers = {"mean": mean, "scale": scale, "weights": model.coef_[0]}
    text = {name: [float(f"{value:.4g}") for value in values] for name, values in numbers.items()}
    text["bias"] = float(f"{model.intercept_[0]:.4g}")
    COEFFICIENTS.write_text(json.dumps(text) + "\n", encoding="utf-8")
    print(f"{len(rows)} images; right on the images learned from: {model.score((table - mean) / scale, truth):.4f}")


if __name__ == "__main__":
    main()
