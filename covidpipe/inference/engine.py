"""Trained networks: found by config, loaded from their folder, run in batches, and only where they are asked."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from covidpipe import paths
from covidpipe.config import Config, Roles
from covidpipe.errors import CovidpipeError, UsageError
from covidpipe.inference import openvino
from covidpipe.inference.batched import probabilities
from covidpipe.inference.frames import Part, Parts, Shape, needed, part_for, resized, worthwhile
from covidpipe.io.files import check_weights, read_json
from covidpipe.metrics.temperature import temper
from covidpipe.provenance import PACKAGE, bind_backend
from covidpipe.registry import TASKS

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

# Pixels of one batch: enough to keep a few cores busy, small enough for 64 channels at full size in 1 GiB.
BATCH_PIXELS = 2**19
LARGEST_BATCH = 32


class Network(Protocol):
    """What every engine offers: float32 (n, rows, columns, channels) in 0..1 -> probabilities, float32 (n, ...).

    One that has ``any_number = True`` computes each image by itself: its batches are not filled up.
    """

    output_shape: tuple[int | None, ...]

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to predict.

    Parameters
    ----------
    recipe : dict
        How it was trained and how its input is made: ``run.json["recipe"]``.
    model_id : str
        ``name@`` and the first 12 digits of the weights' SHA-256; "(published split)" where patients stand on both
        sides of it, so that no table or report shows such a result unmarked.
    parts : dict of str to str
        source_sha256 of every image of its dataset -> ``train``, ``validation`` or ``test``.
    network : Network
    engine : str
        What computes it, with its version.
    precision : str
        What it computes in.
    largest_difference : float, optional
        Of a probability from what Keras says to the trial images; None for Keras.
    parts_of_frame : Parts, optional
        The same network for parts of the frame.
    """

    recipe: dict[str, Any]
    model_id: str
    parts: dict[str, str]
    network: Network
    engine: str
    parts_of_frame: Parts | None = None
    precision: str = "float32"
    largest_difference: float | None = None

    @property
    def batch_size(self) -> int:
        return _batch_size(self.recipe["image_size"] ** 2)

    @property
    def temperature(self) -> float:
        """What the log-odds of a classifier are divided by (fitted on validation patients); 1 where none was fitted."""
        return self.recipe.get("temperature", 1.0)

    def predict(self, images: np.ndarray, *, calibrated: bool = True) -> np.ndarray:
        """Probability of what the network's dataset is labelled for, or of each pixel being lung or infected.

        Parameters
        ----------
        images : ndarray of uint8, (n, image_size, image_size)
        calibrated : bool
            With the temperature, for which the recipe's threshold is meant; False: as the network says it.

        Returns
        -------
        ndarray of float32, (n,) for classify, (n, image_size, image_size) for masks
        """
        found = probabilities(self.network, images, self.recipe["channels"], self.batch_size)
        return self._tempered(found) if calibrated else found

    def predict_in(self, images: np.ndarray, lungs: np.ndarray) -> np.ndarray:
        """Probability of each pixel being infected, as `predict` says it, where the lungs are.

        Elsewhere it is as near as what was computed along with them, or 0: an image without lungs is not computed.

        Parameters
        ----------
        images : ndarray of uint8, (n, image_size, image_size)
        lungs : ndarray of bool, (n, rows, rows)
            On any grid of the same frame.

        Returns
        -------
        ndarray of float32, (n, image_size, image_size)
        """
        size = self.recipe["image_size"]
        found = np.zeros(images.shape, np.float32)
        some = [n for n, lung in enumerate(lungs) if lung.any()]
        parts = {n: self._part(needed(lungs[n], size), size) for n in some}
        for shape in sorted({part.shape for part in parts.values()}):
            here = [n for n in some if parts[n].shape == shape]
            said = self._predict_parts([images[n][parts[n].window] for n in here], shape)
            for n, one in zip(here, said, strict=True):
                found[n][parts[n].window] = one
        return found

    def _part(self, box: tuple[slice, slice], size: int) -> Part:
        offered = self.parts_of_frame
        found = part_for(box, offered.reach, list(offered.networks), size) if offered else None
        return found or Part(0, 0, size, size)

    def _predict_parts(self, images: Sequence[np.ndarray], shape: Shape) -> np.ndarray:
        offered = self.parts_of_frame
        network = offered.networks[shape]() if offered and shape in offered.networks else self.network
        found = probabilities(network, np.stack(images), self.recipe["channels"], _batch_size(shape[0] * shape[1]))
        return self._tempered(found)

    def _tempered(self, found: np.ndarray) -> np.ndarray:
        return found if self.temperature == 1 else temper(found, self.temperature).astype(np.float32)


def _batch_size(pixels: int) -> int:
    return max(1, min(LARGEST_BATCH, BATCH_PIXELS // pixels))


def resolve(config: Config, modality: str) -> dict[str, Path]:
    """Folders of the networks that the config gives to a modality, by task; nothing is opened."""
    roles = config.models.get(modality, Roles())  # type: ignore[call-overload]
    return {task: _folder(config, name) for task in TASKS if (name := getattr(roles, task)) is not None}


def _folder(config: Config, name: str) -> Path:
    if name.startswith("shipped:"):
        return PACKAGE / "weights" / name.removeprefix("shipped:")
    return paths.model(config, config.training[name])


def choose(engine: str) -> str:
    """The engine for a config's `engine`: ``auto`` is OpenVINO where it is installed and no GPU is seen, else Keras.

    ``auto`` is never ``openvino_bf16``: tables would then depend on the processor that a job happens to get.

    Raises
    ------
    UsageError
        OpenVINO was asked for and is not installed, or bfloat16 was, and this processor has no instructions for it.
    """
    if engine in openvino.PRECISIONS and not openvino.installed():
        raise UsageError(
            f"engine: {engine} was asked for, and the package openvino is not installed. Install it, or set "
            "`engine: auto`."
        )
    if engine == "openvino_bf16" and not openvino.bfloat16_instructions():
        raise UsageError(
            "engine: openvino_bf16 was asked for, and this processor has no instructions for bfloat16 (one of "
            f"{', '.join(sorted(openvino.NATIVE_BFLOAT16))} among the flags of /proc/cpuinfo). Run on one that has, "
            "or set `engine: openvino`."
        )
    if engine == "auto":
        return "openvino" if openvino.installed() and not _sees_gpu() else "keras"
    return engine


def _sees_gpu() -> bool:
    """Whether there is a GPU for this process; found without Keras, whose import takes longer than many a shard."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return visible not in ("", "-1", "NoDevFiles") and Path("/dev/nvidiactl").exists()


def load_model_folder(path: Path, engine: str = "keras") -> LoadedModel:
    """Load ``model.keras`` and ``run.json``, and check that they belong together.

    Parameters
    ----------
    path : Path
    engine : {"keras", "openvino", "openvino_bf16", "auto"}
        With ``auto``, a network that OpenVINO cannot run as Keras does runs on Keras, with a warning.

    Raises
    ------
    CovidpipeError
        The folder is missing or incomplete, the weights are not those of its run.json, or OpenVINO was asked for and
        does not answer as Keras does.
    """
    path = Path(path)
    weights = path / "model.keras"
    for file in (weights, path / "run.json"):
        if not file.is_file():
            raise CovidpipeError(f"{file}: wanted a trained network here, found no such file. {_remedy(path)}")
    record = read_json(path / "run.json")
    found = check_weights(weights, record["weights_sha256"], _remedy(path))
    recipe = record["recipe"]
    # Lungs are looked for everywhere; a lung view is a part of the frame already.
    in_parts = recipe.get("task") == "segment_infection" and recipe.get("input") != "lung_view"
    marked = " (published split)" if recipe.get("protocol") == "published" else ""
    told = recipe, f"{recipe['model']}@{found[:12]}{marked}", record.get("images", {})
    chosen = choose(engine)
    if chosen in openvino.PRECISIONS:
        # Lungs and screening stay in float32: they take little of the time, and every percentage hangs on them (with
        # lungs in bfloat16, those of `alom2020` moved by up to 0.4 points on real CT slices and 16 on films).
        precision = openvino.PRECISIONS[chosen] if recipe.get("task") == "segment_infection" else "float32"
        try:
            fast = openvino.load(found, lambda: _keras_network(weights), in_parts, precision)
            used = f"openvino {openvino.version()}"
            return LoadedModel(*told, fast, used, fast.parts, precision, fast.largest_difference)
        except CovidpipeError as error:
            if engine != "auto":
                raise
            log.warning("%s: it runs on Keras, because %s", path.name, error)
    return LoadedModel(*told, *_on_keras(weights, in_parts))


def _on_keras(weights: Path, in_parts: bool) -> tuple[keras.Model, str, Parts | None]:
    import keras

    network = _keras_network(weights)
    # A GPU waits for images rather than for pixels: batches of the whole frame fill it, those of three shapes do not.
    parts = _keras_parts(network) if in_parts and not _sees_gpu() else None
    return network, f"keras {keras.__version__}, {keras.backend.backend()}", parts


def _keras_parts(network: keras.Model) -> Parts | None:
    found = worthwhile(network)
    if found is None:
        return None
    reach, some = found
    return Parts(reach, {shape: functools.cache(functools.partial(resized, network, shape)) for shape in some})


def _keras_network(weights: Path) -> keras.Model:
    import keras

    import covidpipe.models.layers  # noqa: F401  registers the layers that are our own

    bind_backend()
    try:
        network = keras.saving.load_model(weights, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError) as error:
        raise CovidpipeError(
            f"{weights}: it cannot be loaded safely ({type(error).__name__}): wanted layers of Keras and covidpipe, "
            f"without code of its own. {_remedy(weights.parent)}"
        ) from error
    # XLA takes longer to compile than it saves in a shard
    network.jit_compile = False
    return network


def _remedy(path: Path) -> str:
    if path.parent == PACKAGE / "weights":
        return (
            f"The weights `{path.name}` ship with covidpipe: install it again, or train a network of your own "
            "(config `training`) and name it under `models`."
        )
    return "Train it first: `snakemake train` with the same config."
