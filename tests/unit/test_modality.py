"""CT or X-ray, from pixels alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidpipe.datasets import coronacases, covid_cxr
from covidpipe.errors import BadInput
from covidpipe.io.read import read_image
from covidpipe.modality import features, guess_modality
from covidpipe.phantoms import phantom_volume, project


def ellipse(size: int, row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[0:size, 0:size] / size
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1


def drawn_ct(size: int = 200) -> np.ndarray:
    """A body on air with two lungs and a spine."""
    noise = np.random.default_rng(0).normal(0, 4, (size, size))
    picture = np.full((size, size), 10.0)
    picture[ellipse(size, 0.5, 0.5, 0.34, 0.46)] = 180
    picture[ellipse(size, 0.5, 0.3, 0.22, 0.13) | ellipse(size, 0.5, 0.7, 0.22, 0.13)] = 60
    picture[ellipse(size, 0.7, 0.5, 0.06, 0.06)] = 240
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def test_a_drawn_slice_is_a_ct_in_any_size_and_window():
    for picture in (drawn_ct(), drawn_ct(512), drawn_ct()[:, ::-1], (drawn_ct() * 4.0 - 1024)):
        assert guess_modality(picture)[0] == "ct"


def test_features_ignore_size_window_and_polarity():
    picture = drawn_ct(256).astype(float)
    assert features(picture) == pytest.approx(features(picture * 16 - 1000))
    assert features(255 - picture)[:128] == pytest.approx(features(picture)[:128], abs=0.02)
    assert np.isfinite(features(np.arange(64 * 64).reshape(64, 64))).all()


@pytest.mark.real_data
def test_right_on_real_images_that_it_never_saw(real_data: Path):
    ct = sorted((real_data / "ct-lungs/lungsegdb_22/images").iterdir())[::2]
    later = [r.path for r in coronacases.records(real_data / "coronacases") if (r.patient or "") >= "coronacases/5"]
    ct += [real_data / "coronacases" / path for path in later[::4]]
    xr = sorted((real_data / "cxr-lungs/native512/images").iterdir())[::2]
    patients = [r for r in covid_cxr.records(real_data / "covid-cxr") if sum((r.patient or "").encode()) % 3 == 0]
    xr += [real_data / "covid-cxr" / record.path for record in patients[::4]]
    for truth, paths in (("ct", ct), ("xr", xr)):
        right = seen = 0
        for path in paths:
            try:
                guess, confidence = guess_modality(read_image(path, modality=truth).array)
            except BadInput:  # a colored film
                continue
            assert 0.5 <= confidence <= 1
            seen += 1
            right += guess == truth
        assert seen > 20
        assert right >= 0.97 * seen, truth


@pytest.mark.parametrize("window", [(-1350, 150), (-160, 240), (-1000, 400)])
def test_right_on_phantoms_that_it_never_saw(window):
    phantom = phantom_volume(1000, size=128, slices=4)
    for hu in phantom.hu:
        assert guess_modality(np.clip(hu, *window))[0] == "ct"
    assert guess_modality(project(phantom).image)[0] == "xr"
