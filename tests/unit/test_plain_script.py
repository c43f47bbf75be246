"""The plain script that benchmarks time against gives the row that the package gives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from covidpipe import read_image
from covidpipe.config import Config
from covidpipe.inference import methods
from covidpipe.inference.engine import LoadedModel
from covidpipe.phantoms import phantom_volume
from covidpipe.quantify.percentages import quantify_image
from tests.benchmarks.encoded import write_dicom
from tests.benchmarks.oracles import script

WINDOW = [-1350.0, 150.0]
GRIDS = {"classify": (82, "wavelet"), "segment_lungs": (160, "harmonized"), "segment_infection": (304, "harmonized")}
RECIPES = {
    task: {"image_size": size, "input": kind, "source_size": 304, "reading": "paper_haar", "window_hu": WINDOW}
    | {"channels": 1, "threshold": 0.5, "dataset": "phantom-ct"}
    for task, (size, kind) in GRIDS.items()
}


class Shades:
    """A network of no layers: lung is what is dark in the middle, infection what is less dark; ill what is bright."""

    def __init__(self, task: str):
        self.task = task
        self.output_shape = (None, 2) if task == "classify" else (None, *[GRIDS[task][0]] * 2, 2)

    def predict(self, images: np.ndarray, verbose: int = 0) -> np.ndarray:
        grey = images[..., 0]
        if self.task == "classify":
            found = grey.mean(axis=(1, 2))
        elif self.task == "segment_infection":
            found = np.clip((grey - 0.35) / 0.2, 0, 1)
        else:
            middle = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, grey.shape[1])] * 2)) < 0.75
            found = np.clip((0.9 - grey) / 0.4, 0, 1) * middle
        return np.stack([1 - found, found], axis=-1)

    predict_on_batch = predict


@pytest.mark.parametrize("number", [1, 2])
def test_the_script_and_the_package_agree(tmp_path, number):
    hu = phantom_volume(7, size=96, slices=4).hu[number].astype(np.float32)
    pixels = np.rint(cv2.resize(hu, (400, 400), interpolation=cv2.INTER_LINEAR)).astype(np.int16)
    path = write_dicom(tmp_path / "slice.dcm", pixels)
    networks = {task: Shades(task) for task in RECIPES}
    plain = script.quantified(path, networks, RECIPES)

    config = Config.model_validate({"segment": "all"})
    loaded = {task: LoadedModel(RECIPES[task], task, {}, networks[task], "none") for task in RECIPES}
    image = read_image(path, modality="ct")
    batch = methods.to_batch([methods.to_grids(image, methods.grids_of(loaded, config))])
    (found,) = methods.find(batch, ["khan2020"], loaded, config)["khan2020"]
    lung, infection = found.to_native(*image.array.shape)
    ours = quantify_image(infection, lung, image.spacing_mm)
    assert plain["covid_probability"] == pytest.approx(found.covid_probability, abs=1e-3)
    assert ours["lung_px"] == pytest.approx(plain["lung_px"], rel=2e-3) and ours["lung_px"] > 5_000
    assert ours["infection_percent"] == pytest.approx(plain["infection_percent"], abs=0.05)
    assert 0.5 < ours["infection_percent"] < 99
