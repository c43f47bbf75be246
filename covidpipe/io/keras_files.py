"""`.keras` files whose bytes depend on the weights and nothing else."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from covidpipe.io.files import replacing

if TYPE_CHECKING:
    import keras


def save_model(model: keras.Model, path: Path) -> None:
    """Save an uncompiled copy of `model`: no optimizer state, no date, so that equal weights give equal bytes."""
    bare = type(model).from_config(model.get_config())  # clone_model would carry the optimizer along
    bare.set_weights(model.get_weights())
    with replacing(path) as partial:
        dated = partial.with_suffix(".dated.keras")
        try:
            bare.save(dated)
            _copy_without_dates(dated, partial)
        finally:
            dated.unlink(missing_ok=True)


def _copy_without_dates(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name == "metadata.json":
                kept = {k: v for k, v in json.loads(content).items() if k != "date_saved"}
                content = json.dumps(kept, sort_keys=True).encode()
            new.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
