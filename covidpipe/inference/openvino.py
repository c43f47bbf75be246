"""Networks on OpenVINO: two to five times as fast as Keras on a CPU, and started without TensorFlow.

What OpenVINO computes is derived from the trained Keras network at its first use, compared with it, and kept in the
user's cache under the hash of the weights.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from covidpipe.cores import available_cores
from covidpipe.errors import CovidpipeError
from covidpipe.io.files import cache_folder, file_sha256, read_json, replacing, write_json

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

# OpenVINO's converter reports its use to its makers unless this package cannot be imported. Nothing leaves a machine
# that holds images of patients.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

# Largest difference of a probability. A mask changes only where a probability stands this close to the threshold: on
# real images the Dice of both masks was above .999.
MOST_APART = 1e-3
FILES = ("network.xml", "network.bin")


def installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def version() -> str:
    return importlib.metadata.version("openvino")


class OpenVinoNetwork:
    """A network that answers as `keras.Model.predict_on_batch` does.

    Images are computed one by one, as many at a time as there are cores: one image on all cores leaves them waiting
    for each other after every layer.

    Parameters
    ----------
    file : Path
        OpenVINO's ``.xml``, its ``.bin`` beside it.
    """

    def __init__(self, file: Path):
        import openvino

        core = _core()
        model = core.read_model(file)
        self._answer = _sizes(model.output(0))
        self.output_shape = (None, *self._answer)
        model.reshape([1, *_sizes(model.input(0))])
        cores = available_cores()
        # float32: in bfloat16 masks differ by more than images from two scanners should.
        compiled = core.compile_model(
            model,
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cores, "NUM_STREAMS": cores},
        )
        self._queue = openvino.AsyncInferQueue(compiled, cores)

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """float32 (n, rows, columns, channels) in 0..1 -> float32 (n, ...): probabilities."""
        found = np.empty((len(images), *self._answer), np.float32)

        def keep(request: Any, place: int) -> None:
            found[place] = request.get_output_tensor(0).data[0]

        self._queue.set_callback(keep)
        for place in range(len(images)):
            self._queue.start_async([images[place : place + 1]], place)
        self._queue.wait_all()
        return found


@functools.cache
def _core() -> Any:
    """OpenVINO's one core of this process, which is never given back.

    A core lays a signal stack of its own under the main thread; where two end in the order they began, the stack that
    is left has been freed, and the next signal (a time limit's SIGTERM) is a segmentation fault.
    """
    import openvino

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # a mapped file that another job replaces would end this one
    return core


def _sizes(port: Any) -> tuple[int, ...]:
    """All but the first, which is the batch."""
    return tuple(size.get_length() for size in list(port.partial_shape)[1:])


def load(weights_sha256: str, reference: Callable[[], keras.Model]) -> OpenVinoNetwork:
    """The OpenVINO form of a trained network, from the cache or derived now.

    Parameters
    ----------
    weights_sha256 : str
        Of ``model.keras``.
    reference : callable
        Loads the Keras network; called only where nothing is in the cache.

    Raises
    ------
    CovidpipeError
        OpenVINO cannot run the network, or answers otherwise than Keras does.
    """
    folder = cache_folder() / "openvino" / f"{weights_sha256[:16]}-{version()}"
    if _whole(folder, weights_sha256):
        return OpenVinoNetwork(folder / FILES[0])
    network = reference()
    try:
        with replacing(folder) as new:
            new.mkdir()
            made = _derive(network, weights_sha256, new)
    except OSError as error:
        if not _whole(folder, weights_sha256):  # otherwise another job was faster
            log.warning("%s cannot be written (%s): %s is derived anew by every job", folder, error, network.name)
            with tempfile.TemporaryDirectory(prefix="covidpipe-") as scratch:
                return _derive(network, weights_sha256, Path(scratch))
    return made


def _whole(folder: Path, weights_sha256: str) -> bool:
    try:
        record = read_json(folder / "record.json")
        found = {name: file_sha256(folder / name) for name in FILES}
    except (OSError, ValueError):
        return False
    return bool(record["weights_sha256"] == weights_sha256 and record["sha256"] == found)


def _derive(network: keras.Model, weights_sha256: str, folder: Path) -> OpenVinoNetwork:
    """Write a network's OpenVINO form to `folder`, and compare it with the network."""
    file = folder / FILES[0]
    try:
        network.export(str(file), format="openvino", verbose=False)
        made = OpenVinoNetwork(file)
    except OSError:
        raise
    except Exception as error:  # the converter and the compiler have errors of many kinds of their own
        raise CovidpipeError(
            f"OpenVINO {version()} cannot run {network.name}: {error}. Set `engine: keras`."
        ) from error
    images = trial_images(*network.input_shape[1:])
    apart = float(np.abs(made.predict_on_batch(images) - np.asarray(network.predict_on_batch(images))).max())
    if not apart <= MOST_APART:
        raise CovidpipeError(
            f"OpenVINO {version()} answers otherwise than Keras for {network.name}: its probabilities differ by up to "
            f"{apart:.2g}, and at most {MOST_APART:g} is allowed. Set `engine: keras`."
        )
    sha256 = {name: file_sha256(folder / name) for name in FILES}
    write_json(
        folder / "record.json", {"weights_sha256": weights_sha256, "sha256": sha256, "largest_difference": apart}
    )
    return made


def trial_images(rows: int, columns: int, channels: int) -> np.ndarray:
    """Four images of clouds from fine to coarse: what both engines are asked.

    Returns
    -------
    ndarray of float32, (4, rows, columns, channels)
        In 0..1.
    """
    random = np.random.default_rng(2020)
    images = []
    for sigma in (1, 2, 4, 8):
        cloud = cv2.GaussianBlur(random.random((rows, columns), np.float32), (0, 0), sigma)
        images.append((cloud - cloud.min()) / np.ptp(cloud))
    return np.repeat(np.stack(images)[..., np.newaxis], channels, axis=-1)
