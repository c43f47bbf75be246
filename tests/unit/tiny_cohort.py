"""A cohort small enough to check by hand: drawn chests, networks of one convolution, everything in a folder.

Body 200, lung 60, lesion 120; the lung network marks what is darker than 160, the infection network what is brighter
than 90, and the classifier says yes where the mean grey level is above `SCREEN`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from covidpipe.config import Config
from covidpipe.io.files import file_sha256, write_json, write_table
from covidpipe.schemas import IMAGES
from covidpipe.sealed import seal

SIZE = 96
SCREEN = 173.8  # the healthy image has a mean of 172.7, the ill one of 175.0
HEALTHY, ILL, XRAY, BROKEN = "a-healthy", "b-ill", "c-xray", "d-broken"


def chest(lesion_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, lung mask and infection mask: two lungs of 900 px, a lesion of `lesion_px` (a multiple of 20) in one."""
    image = np.full((SIZE, SIZE), 200, np.uint8)
    lung, lesion = np.zeros((2, SIZE, SIZE), bool)
    lung[30:60, 10:40] = lung[30:60, 55:85] = True
    lesion[35 : 35 + lesion_px // 20, 15:35] = True
    image[lung] = 60
    image[lesion] = 120
    image[0, 0], image[0, 1] = 0, 255  # min-max stretching then changes nothing
    return image, lung, lesion


def pictures() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The accepted images by image_id: 0 %, 20 % and 10 % infected."""
    return {HEALTHY: chest(0), ILL: chest(360), XRAY: chest(180)}


def write_images(folder: Path) -> Path:
    """Write PNGs with their masks below ``folder/files`` and their image table; return the table."""
    rows: list[dict[str, Any]] = []
    for n, (image_id, (image, lung, lesion)) in enumerate(pictures().items()):
        for kind, array in (("ct", image), ("lung", lung * np.uint8(255)), ("infection", lesion * np.uint8(255))):
            path = folder / "files" / kind / f"{image_id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), array)
        is_xray = image_id == XRAY
        rows.append(
            {
                "image_id": image_id,
                "patient_id": f"patient-{n // 2}",
                "study_id": None if is_xray else "study",
                "slice_index": None if is_xray else n,
                "modality": "xr" if is_xray else "ct",
                "modality_source": "declared",
                "intensity": "radiograph" if is_xray else "windowed_8bit",
                "format": "png",
                "path": seal(f"ct/{image_id}.png"),
                "frame": 0,
                "rows": SIZE,
                "columns": SIZE,
                "row_spacing_mm": 0.5 if image_id == ILL else None,
                "column_spacing_mm": 2.0 if image_id == ILL else None,
                "source_sha256": file_sha256(folder / "files" / "ct" / f"{image_id}.png"),
                "pixel_sha256": hashlib.sha256(image.tobytes()).hexdigest(),
                "lung_mask_path": f"lung/{image_id}.png",
                "infection_mask_path": f"infection/{image_id}.png",
                "accepted": True,
                "warnings": ["modality_guessed"] if is_xray else [],
            }
        )
    refused = {"accepted": False, "reason": "unreadable", "sentence": "An empty file.", "warnings": []}
    rows.append({"image_id": BROKEN, "path": "ct/broken.png", "frame": 0, "source_sha256": "00"} | refused)
    table = folder / "images.parquet"
    write_table(table, rows, IMAGES)
    return table


def write_model(folder: Path, task: str, *, parts: dict[str, str] | None = None, **recipe: Any) -> Path:
    """Write the model folder of a network for `task` with one layer of weights."""
    import keras

    size = recipe.setdefault("image_size", SIZE)
    inputs = keras.Input((size, size, 1))
    sign, edge = {"segment_lungs": (-1, 160), "segment_infection": (1, 90), "classify": (1, SCREEN)}[task]
    if task == "classify":
        x = keras.layers.GlobalAveragePooling2D()(inputs)
        head = keras.layers.Dense(2, activation="softmax")
        kernel = np.zeros((1, 2))
    else:
        x = inputs
        head = keras.layers.Conv2D(2, 1, activation="softmax")
        kernel = np.zeros((1, 1, 1, 2))
    network = keras.Model(inputs, head(x))
    kernel[..., 1] = sign * 255.0
    head.set_weights([kernel, np.array([0.0, -sign * edge])])
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / "model.keras")
    record = {
        "recipe": {
            "task": task,
            "dataset": "phantom-ct",
            "model": "nabla3",
            "channels": 1,
            "input": "harmonized",
            "source_size": SIZE,
            "threshold": 0.5,
            "window_hu": [-1350, 150],
            **recipe,
        },
        "weights_sha256": file_sha256(folder / "model.keras"),
        "images": parts or {},
    }
    write_json(folder / "run.json", record)
    return folder


def config(folder: Path, **settings: Any) -> Config:
    """A study of the cohort `c`, with the networks of `write_networks`."""
    given = {
        "results": str(folder / "results"),
        "engine": "keras",  # networks of one layer: to derive OpenVINO's form takes longer than to use them
        "cohorts": {"c": {"path": str(folder / "files")}},
        "harmonize": {"source_size": SIZE},
        "segment": "positives",
        "models": {
            "ct": {
                "classify": "shipped:ct_screening",
                "segment_lungs": "shipped:ct_lungs",
                "segment_infection": "shipped:ct_infection",
            },
            "xr": {"segment_lungs": "shipped:xr_lungs"},
        },
    }
    return Config.model_validate({**given, **settings})


def write_networks(package: Path, parts: dict[str, str] | None = None) -> None:
    """Write the four networks that `config` names below ``package/weights``."""
    weights = package / "weights"
    write_model(weights / "ct_screening", "classify", image_size=32, input="wavelet", reading="none", model="cov_ctnet")
    write_model(weights / "ct_lungs", "segment_lungs", parts=parts)
    write_model(weights / "ct_infection", "segment_infection", model="cov_raseg")
    write_model(weights / "xr_lungs", "segment_lungs")
