"""Networks at work: engines, networks that a user would pick instead, and a method from DICOM to its table.

``python -m tests.benchmarks.inference``. All ratios are of one machine and one run; processor time counts all cores.

* The method: `khan2020` with the shipped CT networks for screening and lungs, and CoV-RASeg at its published size with
  random weights for infection, on drawn chests in DICOM files of 512 x 512. Every image is segmented, so that nothing
  hangs on how many are screened out. Plain is `tests.benchmarks.oracles.script`; both have their networks loaded, as is
  done once a shard of 512 images. Files are read in this process: to start workers takes longer than a few files.
* Engines: CoV-RASeg, the full frame of 304 x 304, against ``model.predict`` of one image after the other by Keras; and
  in the lungs' box, which gives the same masks inside them. bfloat16 is measured where the processor computes it;
  whether its masks are those of float32 is asked of each cohort, not here, where weights are random. The shipped
  networks, by each engine against Keras, in batches both.
* Peers: `tests.benchmarks.peers` by ``model.predict`` of one image after the other, against what does their job here.
* Ceiling: a product of two matrices with as many floating-point operations.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import keras
import numpy as np

from covidpipe import models
from covidpipe.config import Config
from covidpipe.inference import openvino
from covidpipe.inference.engine import LoadedModel, Network, load_model_folder
from covidpipe.inference.frames import Parts
from covidpipe.io.files import file_sha256, write_json
from covidpipe.io.rows import read_rows
from covidpipe.phantoms import MAX_HU, MIN_HU, phantom_volume
from covidpipe.provenance import PACKAGE, prepare_backend
from covidpipe.registry import SHIPPED
from covidpipe.stages import ingest, predict, quantify
from tests.benchmarks import peers
from tests.benchmarks.encoded import write_dicom
from tests.benchmarks.oracles import script
from tests.benchmarks.timing import Ratio, paired, share, told

SLICES, SIDE, GRID = 4, 512, 304
FILES = 16  # of the method: what is done once for a shard is then a small part, as of 512
TASKS = {"classify": "ct_screening", "segment_lungs": "ct_lungs"}
ENGINES = [
    engine
    for engine, precision in openvino.PRECISIONS.items()
    if openvino.installed() and (precision == "float32" or openvino.bfloat16_instructions())
]
BATCH = 32  # images of a shipped network
NOISE_SHARE = 0.1  # of the pixels that random weights shall call infected
work = functools.partial(paired, n=3, clock=time.process_time)


def write_slices(folder: Path) -> list[Path]:
    """CT slices of a drawn chest, the lowest and the highest left out."""
    folder.mkdir()
    paths = []
    for n, drawn in enumerate(phantom_volume(7, slices=FILES + 2).hu[1:-1]):
        hu = cv2.resize(drawn.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        pixels = np.rint(np.clip(hu, MIN_HU, MAX_HU)).astype(np.int16)
        paths.append(write_dicom(folder / f"{n}.dcm", pixels))
    return paths


def write_cov_raseg(folder: Path, images: np.ndarray) -> Path:
    """A model folder of CoV-RASeg with random weights, its threshold where a tenth of the pixels of `images` is."""
    network = models.build("cov_raseg", (GRID, GRID, 1))
    # Halved: as drawn they amplify roundings until the place of a maximum, and with it an answer, hangs on the engine.
    network.set_weights([weight * 0.5 for weight in network.get_weights()])
    said = network.predict_on_batch(images[..., None] / np.float32(255))[..., -1]
    folder.mkdir()
    network.save(folder / "model.keras")
    recipe = {"model": "cov_raseg", "task": "segment_infection", "image_size": GRID, "channels": 1}
    recipe |= {"input": "harmonized", "source_size": GRID, "window_hu": [-1350.0, 150.0]}
    recipe["threshold"] = float(np.quantile(said, 1 - NOISE_SHARE))
    write_json(
        folder / "run.json", {"recipe": recipe, "weights_sha256": file_sha256(folder / "model.keras"), "images": {}}
    )
    return folder


class Clocked:
    """A network that adds the seconds in which it was at work to `taken`."""

    def __init__(self, network: Network, taken: list[float]) -> None:
        self.network, self.output_shape, self.taken = network, network.output_shape, taken
        self.any_number = getattr(network, "any_number", False)

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        started = time.perf_counter()
        found = self.network.predict_on_batch(images)
        self.taken.append(time.perf_counter() - started)
        return found


def clocked(one: LoadedModel, taken: list[float]) -> LoadedModel:
    """A network with the clock, in parts of its frame too."""
    parts = one.parts_of_frame
    if parts is not None:
        ready = {shape: functools.partial(_made_clocked, make, taken) for shape, make in parts.networks.items()}
        parts = Parts(parts.reach, ready)
    return replace(one, network=Clocked(one.network, taken), parts_of_frame=parts)


def _made_clocked(make: Callable[[], Network], taken: list[float]) -> Clocked:
    return Clocked(make(), taken)


def one_by_one(network: keras.Model, images: np.ndarray) -> Callable[[], Any]:
    return lambda: [network.predict(image[None], verbose=0) for image in images]


def method(scratch: Path, cov_raseg: Path, paths: list[Path], engine: str) -> Iterator[Ratio]:
    """From files to table, and how much of it the networks take; in bfloat16 without asking whether it agrees."""
    folders = {task: PACKAGE / "weights" / name for task, name in TASKS.items()} | {"segment_infection": cov_raseg}
    loaded = {task: load_model_folder(folder, engine) for task, folder in folders.items()}
    taken: list[float] = []
    networks = {task: clocked(one, taken) for task, one in loaded.items()}
    plainly = {task: load_model_folder(folder) for task, folder in folders.items()}
    config = Config.model_validate(
        {
            "results": str(scratch / "results"),
            "cohorts": {"c": {"path": str(paths[0].parent)}},
            "methods": ["khan2020"],
            "segment": "all",
        }
    )
    images, masks, table = scratch / "ingest" / "images.parquet", scratch / "masks", scratch / "infection.parquet"

    def ours() -> None:
        (images.parent / "known.sealed").unlink(missing_ok=True)  # what was read before is read again
        ingest.run(config, "c", images)
        predict.run(config, "c", images, 0, masks)
        quantify.run(config, "c", images, masks, 0, table)

    def plain() -> None:
        keras_networks = {task: one.network for task, one in plainly.items()}
        for path in paths:
            script.quantified(path, keras_networks, {task: one.recipe for task, one in plainly.items()})

    key = mock.patch.dict(os.environ, COVIDPIPE_ID_KEY=str(scratch / "key"))
    here = mock.patch.object(ingest, "read_in_parallel", lambda tasks: map(read_rows, tasks))
    agreed = mock.patch.object(predict, "agreed", return_value=[])
    how = "" if engine == "openvino" else f" by {engine}"
    with key, here, agreed, mock.patch.object(predict, "load_networks", return_value={"ct": networks}):
        yield paired(f"khan2020 with CoV-RASeg{how}, DICOM to table / a plain script", ours, plain, n=3)
        yield share(f"time in the networks{how} / all of its time", ours, lambda: sum(taken), n=3)


def engines(cov_raseg: Path, images: np.ndarray, lungs: np.ndarray) -> Iterator[Ratio]:
    batch = images[..., None] / np.float32(255)
    plain = load_model_folder(cov_raseg).network
    one_image = one_by_one(plain, batch)
    yield work(
        "CoV-RASeg by keras / model.predict an image", functools.partial(plain.predict_on_batch, batch), one_image
    )
    operations = peers.gigaflop(plain) * len(batch)
    side = 1536
    left = np.ones((side, side), np.float32)
    rows = round(side * operations * 1e9 / (2 * side**3))
    right = np.ones((rows, side), np.float32)
    for engine in ENGINES:
        loaded = load_model_folder(cov_raseg, engine)
        answer = functools.partial(loaded.network.predict_on_batch, batch)
        there = functools.partial(loaded.predict_in, images, lungs)
        yield work(f"CoV-RASeg by {engine} / model.predict an image", answer, one_image)
        yield work(f"CoV-RASeg by {engine} in the lungs' box / model.predict an image", there, one_image)
        yield work(f"CoV-RASeg by {engine} in the lungs' box / in the whole frame", there, answer)
        yield work(f"CoV-RASeg by {engine} / matrix product of as many operations", answer, lambda: right @ left)


def shipped() -> Iterator[Ratio]:
    """Every network that comes along; only those of infection are ever computed in bfloat16."""
    for name, (task, _) in SHIPPED.items():
        folder = PACKAGE / "weights" / name
        plain = load_model_folder(folder)
        size = plain.recipe["image_size"]
        images = np.random.default_rng(0).integers(0, 256, (BATCH, size, size), np.uint8)
        for engine in ENGINES:
            if engine == "openvino" or task == "segment_infection":
                loaded = load_model_folder(folder, engine)
                fast, slow = (functools.partial(one.predict, images) for one in (loaded, plain))
                yield work(f"{name} by {engine} / by keras", fast, slow)


def instead(sized: Callable[[int], np.ndarray]) -> Iterator[Ratio]:
    """The shipped networks against what a user would pick instead; `sized` gives slices of a size."""
    shipped = {
        task: load_model_folder(PACKAGE / "weights" / name, "auto")
        for task, name in {**TASKS, "segment_infection": "ct_infection"}.items()
    }
    images = {task: sized(network.recipe["image_size"]) for task, network in shipped.items()}

    def answer(task: str, count: int) -> None:
        network: LoadedModel = shipped[task]
        network.predict(images[task][:count])

    for peer, count, tasks in (
        (peers.lungmask_r231(), 2, ("segment_lungs",)),
        (peers.nnunet_2d(), 1, tuple(shipped)),
    ):
        some = np.random.default_rng(0).random((count, *peer.input_shape[1:]), np.float32)
        what = "shipped CT lungs" if len(tasks) == 1 else "shipped networks of khan2020"
        side = peer.input_shape[1]
        yield work(
            f"{what} / {peer.name} at {side} by model.predict an image",
            lambda tasks=tasks, count=count: [answer(task, count) for task in tasks],
            one_by_one(peer, some),
        )


def main() -> list[Ratio]:
    prepare_backend(0)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        paths = write_slices(scratch / "files")
        drawn = phantom_volume(7, slices=SLICES)
        grey = np.clip((drawn.hu + 1350) * (255 / 1500), 0, 255).astype(np.uint8)
        middle = slice(SLICES // 2 - 1, SLICES // 2 + 1)  # where the lungs are widest

        def sized(size: int) -> np.ndarray:
            return np.stack([cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA) for one in grey])

        whole = sized(GRID)[middle]
        cov_raseg = write_cov_raseg(scratch / "cov_raseg", whole)
        with mock.patch.dict(os.environ, XDG_CACHE_HOME=str(scratch / "cache")):
            parts = (
                *(functools.partial(method, scratch, cov_raseg, paths, engine) for engine in ENGINES or ["keras"]),
                lambda: engines(cov_raseg, whole, drawn.lung_mask[middle]),
                shipped,
                lambda: instead(sized),
            )
            return told(row for part in parts for row in part())


if __name__ == "__main__":
    main()
