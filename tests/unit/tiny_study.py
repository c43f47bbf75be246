"""A dataset small enough to train on in seconds: bright squares on noise, in a store with its split and image table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.config import Config, dump
from covidpipe.io.files import write_table
from covidpipe.io.store import write_store
from covidpipe.schemas import IMAGES, SPLIT, STORE_INDEX

SIZE, IMAGES_OF_ALL, PATIENTS = 16, 24, 8


def squares(n: int = IMAGES_OF_ALL) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks, uint8 (n, SIZE, SIZE); every fourth image has no square."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (n, SIZE, SIZE), dtype=np.uint8)
    masks = np.zeros_like(images)
    for i in range(n):
        row, column = rng.integers(1, 9, 2)
        masks[i, row : row + 6, column : column + 6] = i % 4 > 0
    images[masks > 0] += 150
    return images, masks


class Study:
    """A config with recipes for these squares, and the files that ``covidpipe train`` is given.

    ``recipe`` and ``schedule`` change the recipe `square` and its schedule; further ones come with `more`.
    """

    def __init__(self, folder: Path, *, recipe: dict[str, Any], schedule: dict[str, Any], **more: Any):
        self.folder = folder
        base = {"dataset": "phantom-ct", "regime": "scratch", "image_size": SIZE, "schedule": "tiny"}
        recipes = {"square": {"task": "segment_lungs"} | recipe, **more.pop("recipes", {})}
        given = {
            "results": str(folder / "results"),
            "folds": 4,
            "training": {name: base | changes for name, changes in recipes.items()},
            "schedules": {"tiny": {"epochs": 3, "batch_size": 4, "learning_rate": 0.01} | schedule},
        }
        self.config = Config.model_validate(given | more)
        self.store, self.split, self.images = (folder / name for name in ("store", "split.parquet", "images.parquet"))
        self.config_file = folder / "study.yaml"
        self.config_file.write_text(dump(self.config))
        if not self.store.exists():
            self._write()

    def _write(self) -> None:
        images, masks = squares()
        names = [f"i{i:02d}" for i in range(len(images))]
        sides = dict.fromkeys(("native_rows", "native_columns", "size", "height", "width"), SIZE)
        index = [
            {"n": i, "image_id": name, "top": 0, "left": 0, **sides, "label": bool(masks[i].any()),
             "has_lung_mask": True, "has_infection_mask": False}
            for i, name in enumerate(names)
        ]  # fmt: skip
        block = {"image": images, "lung_mask": masks * np.uint8(255)}
        shape = dict.fromkeys(block, (SIZE, SIZE))
        write_store(self.store, "images.zarr", index, STORE_INDEX, [block], shape, len(images), len(images))
        folds = [
            {"image_id": name, "group": f"p{i % PATIENTS}", "fold": i % PATIENTS % 4} for i, name in enumerate(names)
        ]
        write_table(self.split, folds, SPLIT)
        rows = [
            {
                "image_id": name,
                "path": f"{name}.png",
                "frame": 0,
                "accepted": True,
                "warnings": [],
                "source_sha256": name,
            }
            for name in names
        ]
        write_table(self.images, rows, IMAGES)

    def arguments(self, name: str, out: Path) -> dict[str, Any]:
        """What the stage and its command are given."""
        return {"store": self.store, "split": self.split, "images": self.images, "out": out}

    def command(self, name: str, out: Path) -> list[str]:
        """``covidpipe train`` of one recipe, without the program's name."""
        given = {"config": self.config_file, **self.arguments(name, out)}
        return ["train", name, *(word for key, value in given.items() for word in (f"--{key}", str(value)))]

    def train(self, out: Path, name: str = "square") -> None:
        """Run the stage in this process."""
        from covidpipe.stages import train

        train.run(self.config, name, **self.arguments(name, out))
