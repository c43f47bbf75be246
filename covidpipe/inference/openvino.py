"""Networks on OpenVINO: up to five times as fast as Keras on a CPU, and started without TensorFlow.

What OpenVINO computes is derived from the trained Keras network at its first use, compared with it, and kept in the
user's cache under the hash of the weights.
"""

from __future__ import annotations

import dataclasses
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
from covidpipe.inference.frames import Part, Parts, Shape, resized, worthwhile
from covidpipe.inference.reach import Reach
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
FORM = 3  # of what is derived: one more where networks come out otherwise, so that what is kept is derived anew
TRIALS = 4  # images that both engines are asked when a network is derived

PRECISIONS = {"openvino": "float32", "openvino_bf16": "bfloat16"}  # of infection, by engine
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
# What Linux calls instructions for bfloat16. OpenVINO's own list of capabilities does not tell: it names BF16 on every
# processor with AVX-512, where it may be imitated in float32, slower than float32 itself.
NATIVE_BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})


def installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def version() -> str:
    return importlib.metadata.version("openvino")


def bfloat16_instructions() -> list[str]:
    """Those of `NATIVE_BFLOAT16` that this processor has; none on one whose instructions are not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return sorted(NATIVE_BFLOAT16.intersection(flags))


class OpenVinoNetwork:
    """A network that answers as `keras.Model.predict_on_batch` does.

    Images are computed one by one, as many at a time as there are cores: one image on all cores leaves them waiting
    for each other after every layer.

    Parameters
    ----------
    file : Path
        OpenVINO's ``.xml``, its ``.bin`` beside it.
    precision : {"float32", "bfloat16"}
        What it computes in; images and probabilities are float32 in both.

    Raises
    ------
    CovidpipeError
        OpenVINO computes in another precision here.
    """

    any_number = True
    parts: Parts | None = None
    largest_difference: float | None = None

    def __init__(self, file: Path, precision: str = "float32"):
        import openvino

        core = _core()
        model = core.read_model(file)
        self._answer = _sizes(model.output(0))
        self.output_shape = (None, *self._answer)
        model.reshape([1, *_sizes(model.input(0))])
        cores = available_cores()
        hint = _HINTS[precision]  # without one, OpenVINO takes the fastest that the processor has
        compiled = core.compile_model(
            model,
            "CPU",
            {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": cores, "NUM_STREAMS": cores},
        )
        taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if taken != hint:  # a wish that it cannot fulfil is passed over in silence
            raise CovidpipeError(
                f"OpenVINO {version()} was asked to compute in {hint} and computes in {taken} here. "
                "Set `engine: openvino`."
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


def load(
    weights_sha256: str, reference: Callable[[], keras.Model], in_parts: bool = False, precision: str = "float32"
) -> OpenVinoNetwork:
    """The OpenVINO form of a trained network, from the cache or derived now.

    Parameters
    ----------
    weights_sha256 : str
        Of ``model.keras``.
    reference : callable
        Loads the Keras network; called only where nothing is in the cache.
    in_parts : bool
        Have it for parts of the frame as well, if it answers there as in the whole: its `parts`.
    precision : {"float32", "bfloat16"}
        What it computes in from here on. What is derived is compared in float32 whatever it is: a wrong translation
        would hide behind the rounding.

    Raises
    ------
    CovidpipeError
        OpenVINO cannot run the network, or answers otherwise than Keras does.
    """
    folder = cache_folder() / "openvino" / f"{weights_sha256[:16]}-{version()}{'-parts' * in_parts}"
    if not _whole(folder, weights_sha256):
        network = reference()
        try:
            with replacing(folder) as new:
                new.mkdir()
                _derive(network, weights_sha256, new, in_parts)
        except OSError as error:
            if not _whole(folder, weights_sha256):  # otherwise another job was faster
                log.warning("%s cannot be written (%s): %s is derived anew by every job", folder, error, network.name)
                with tempfile.TemporaryDirectory(prefix="covidpipe-") as scratch:
                    _derive(network, weights_sha256, Path(scratch), in_parts=False)
                    return _opened(Path(scratch), precision)
    return _opened(folder, precision)


def _opened(folder: Path, precision: str) -> OpenVinoNetwork:
    """The network of a folder, with what is there for parts of its frame; each is compiled when it is first asked."""
    network, told = OpenVinoNetwork(folder / FILES[0], precision), read_json(folder / "record.json")
    network.largest_difference = told["largest_difference"]
    if told["parts"] is not None:
        files = {(rows, columns): folder / f"{rows}x{columns}.xml" for rows, columns in told["parts"]["shapes"]}
        ready = {
            shape: functools.cache(functools.partial(OpenVinoNetwork, file, precision)) for shape, file in files.items()
        }
        network.parts = Parts(Reach(**told["parts"]["reach"]), ready)
    return network


def _whole(folder: Path, weights_sha256: str) -> bool:
    try:
        record = read_json(folder / "record.json")
        found = {name: file_sha256(folder / name) for name in record["sha256"]}
    except (OSError, ValueError, KeyError):
        return False
    known = record.get("form") == FORM and set(FILES) <= set(found)
    return bool(known and record["weights_sha256"] == weights_sha256 and record["sha256"] == found)


def _derive(network: keras.Model, weights_sha256: str, folder: Path, in_parts: bool) -> None:
    """Write a network's OpenVINO form to `folder`, and compare it with the network."""
    made = _export(network, folder / FILES[0])
    images = trial_images(*network.input_shape[1:])
    wanted = np.asarray(network.predict_on_batch(images))
    apart = _agree(network.name, made.predict_on_batch(images), wanted)
    told = None
    found = worthwhile(network) if in_parts else None
    if found is not None:
        reach, some = found
        for shape in some:
            part = _export(resized(network, shape), folder / f"{shape[0]}x{shape[1]}.xml")
            apart = max(apart, _agree_in_part(network.name, part, images, wanted, shape, reach))
        told = {"reach": dataclasses.asdict(reach), "shapes": some}
    sha256 = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
    write_json(
        folder / "record.json",
        {
            "form": FORM,
            "weights_sha256": weights_sha256,
            "sha256": sha256,
            "largest_difference": apart,
            "parts": told,
        },
    )


def _export(network: keras.Model, file: Path) -> OpenVinoNetwork:
    from covidpipe.inference.for_openvino import rewritten

    try:
        rewritten(network).export(str(file), format="openvino", verbose=False)
        return OpenVinoNetwork(file)
    except OSError:
        raise
    except Exception as error:  # the converter and the compiler have errors of many kinds of their own
        raise CovidpipeError(
            f"OpenVINO {version()} cannot run {network.name}: {error}. Set `engine: keras`."
        ) from error


def _agree(name: str, found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of a probability; an error if it is too large."""
    apart = float(np.abs(found - wanted).max())
    if not apart <= MOST_APART:
        raise CovidpipeError(
            f"OpenVINO {version()} answers otherwise than Keras for {name}: its probabilities differ by up to "
            f"{apart:.2g}, and at most {MOST_APART:g} is allowed. Set `engine: keras`."
        )
    return apart


def _agree_in_part(
    name: str, network: OpenVinoNetwork, images: np.ndarray, wanted: np.ndarray, shape: Shape, reach: Reach
) -> float:
    """`_agree` for a part from the middle of the frame, where no border of its own is seen."""
    size = images.shape[1]
    top, left = ((size - length) // 2 // reach.stride * reach.stride for length in shape)
    rows, columns = Part(top, left, *shape).window
    found = network.predict_on_batch(images[:, rows, columns])
    inner = tuple(
        slice(reach.before if start else 0, length - reach.after if start + length < size else length)
        for start, length in zip((top, left), shape, strict=True)
    )
    return _agree(name, found[:, inner[0], inner[1]], wanted[:, rows, columns][:, inner[0], inner[1]])


def trial_images(rows: int, columns: int, channels: int) -> np.ndarray:
    """`TRIALS` images of clouds from fine to coarse.

    Returns
    -------
    ndarray of float32, (TRIALS, rows, columns, channels)
        In 0..1.
    """
    random = np.random.default_rng(2020)
    images = []
    for sigma in [2**n for n in range(TRIALS)]:
        cloud = cv2.GaussianBlur(random.random((rows, columns), np.float32), (0, 0), sigma)
        images.append((cloud - cloud.min()) / np.ptp(cloud))
    return np.repeat(np.stack(images)[..., np.newaxis], channels, axis=-1)
