"""The authors' released CoV-RASeg: loading, scorings on drawn frames, and their own weights on their own images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from covidpipe.errors import UsageError
from covidpipe.models.cov_raseg import cov_raseg
from covidpipe.models.released import INFECTION_FIRST, PARTS, released_cov_raseg
from covidpipe.paper.frames import SCORINGS, counted, ct_box

# --- Loading ------------------------------------------------------------------------------------------------------


def as_released(model) -> dict[str, np.ndarray]:
    """Weights of our network as the authors' archive would hold them."""
    arrays = {}
    for layer in model.layers:
        for part, weight in zip(PARTS.get(type(layer).__name__, ()), layer.get_weights(), strict=True):
            arrays[f"{layer.name}/{part}"] = weight[..., ::-1] if layer.name in INFECTION_FIRST else weight
    return arrays


@pytest.fixture(scope="module")
def drawn():
    """A CoV-RASeg with every weight drawn anew, statistics of batch normalization too."""
    model, rng = cov_raseg((304, 304, 3)), np.random.default_rng(0)
    model.set_weights([np.abs(rng.normal(1, 0.1, w.shape)) * 0.05 for w in model.weights])
    return model


def test_every_array_of_the_archive_finds_its_place(drawn, tmp_path):
    arrays = as_released(drawn)
    assert len(arrays) == 12 * 2 + 8 * 4  # convolutions and batch normalizations
    np.savez(tmp_path / "weights.npz", **arrays)
    loaded = released_cov_raseg(tmp_path / "weights.npz")
    for ours, theirs in zip(drawn.weights, loaded.weights, strict=True):
        assert np.array_equal(np.asarray(ours), np.asarray(theirs)), ours.path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("encoder2_bn_1/mean"), "`encoder2_bn_1/mean` is missing"),
        (lambda arrays: arrays.update(extra=np.zeros(1)), "no layer of CoV-RASeg takes `extra`"),
        (lambda arrays: arrays.update({"encoder1_conv1/bias": np.zeros(3)}), r"`encoder1_conv1`.*\(3,\).*\(64,\)"),
    ],
)
def test_another_archive_is_refused_by_name(drawn, tmp_path, change, message):
    arrays = as_released(drawn)
    change(arrays)
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        released_cov_raseg(tmp_path / "weights.npz")


def test_a_file_that_is_no_archive_is_told(tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"no archive")
    with pytest.raises(UsageError, match="NumPy archive of CoV-RASeg's weights was expected"):
        released_cov_raseg(tmp_path / "weights.npz")
    with pytest.raises(UsageError, match="not readable"):
        released_cov_raseg(tmp_path / "none.npz")


# --- Scorings -----------------------------------------------------------------------------------------------------


@pytest.fixture
def frames() -> np.ndarray:
    """Two masks of a figure: border 255, one tick label in it, one lesion edge of 130 and 120."""
    masks = np.full((2, 12, 14), 255, np.uint8)
    masks[:, 2:10, 3:12] = 0
    masks[:, 11, 5] = 0
    masks[0, 5, 5:9] = 255, 200, 130, 120
    return masks


def test_the_ct_is_what_the_border_leaves_free(frames):
    assert ct_box(frames) == (slice(3, 9), slice(4, 11))


def test_each_scoring_counts_its_own_pixels(frames):
    box = ct_box(frames)
    border = 12 * 14 - 8 * 9 - 1
    counts, infected = counted(frames, "full_frame_exact", box)
    assert counts.sum() == frames.size - 3  # 200, 130 and 120 are no labels
    assert infected.sum() == 2 * border + 1
    counts, infected = counted(frames, "full_frame", box)
    assert counts.all()
    assert infected.sum() == 2 * border + 3
    counts, infected = counted(frames, "inside_ct", box)
    assert counts.sum() == 2 * 6 * 7
    assert (infected & counts).sum() == 3


# --- The authors' weights on their test images ----------------------------------------------------------------------


def read_pairs(folder: Path, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 304, 304, 3) and masks (n, 304, 304), uint8, of the authors' test list."""
    masks = sorted((folder / "segmentation" / "test_masks").glob("*.jpg"))[:count]
    images = [folder / "ct" / "infected" / f"Corona_CT_{mask.stem.split('_')[-1]}.jpg" for mask in masks]
    return (
        np.stack([np.asarray(PIL.Image.open(path).convert("RGB")) for path in images]),
        np.stack([np.asarray(PIL.Image.open(path).convert("L")) for path in masks]),
    )


def score(folder: Path, count: int | None = None) -> dict[str, dict[str, float]]:
    """Pooled measures of the authors' weights in each scoring."""
    images, masks = read_pairs(folder, count)
    model = released_cov_raseg(folder / "cov_raseg_authors_weights.npz")
    found = np.stack([np.asarray(model(image[np.newaxis] / np.float32(255)))[0, ..., 1] > 0.5 for image in images])
    box = ct_box(read_pairs(folder)[1])
    measures = {}
    for scoring in SCORINGS:
        counts, infected = counted(masks, scoring, box)
        tp, fp = (found & infected & counts).sum(), (found & ~infected & counts).sum()
        fn, tn = (~found & infected & counts).sum(), (~found & ~infected & counts).sum()
        measures[scoring] = {
            "iou": 100 * tp / (tp + fp + fn),
            "dice": 2 * tp / (2 * tp + fp + fn),
            "accuracy": 100 * (tp + tn) / (tp + fp + fn + tn),
            "sensitivity": 100 * tp / (tp + fn),
        }
    return measures


@pytest.mark.real_data
def test_the_border_carries_the_authors_score(real_data):
    """Three images suffice to see it: nearly perfect with the border, not without."""
    measures = score(real_data / "khan2020", 3)
    assert measures["full_frame_exact"]["iou"] > 98
    assert measures["inside_ct"]["dice"] < 0.9


@pytest.mark.real_data
@pytest.mark.full_size
def test_the_authors_weights_on_their_74_test_images(real_data):
    """INCONSISTENCIES B1's figures; the paper prints 98.73 and 99.51."""
    measures = score(real_data / "khan2020")
    print(measures)
    assert measures["full_frame_exact"]["iou"] == pytest.approx(98.70, abs=0.05)
    assert measures["full_frame_exact"]["accuracy"] == pytest.approx(99.49, abs=0.05)
    assert measures["inside_ct"]["dice"] == pytest.approx(0.717, abs=0.005)
    assert measures["inside_ct"]["sensitivity"] == pytest.approx(73.5, abs=1)
