"""The wavelet readings against closed forms, and against the images that the authors released."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidpipe import wavelet
from covidpipe.errors import UsageError
from covidpipe.registry import READINGS
from covidpipe.wavelet import enhance
from tests.benchmarks.oracles import wavelets

HAAR = ("paper_haar", "haar_l2_diag", "haar_l1")
# The rows of the 4 x 4 Walsh-Hadamard matrix, made orthonormal.
U, W, Z, V = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2


def projection(vector: np.ndarray) -> np.ndarray:
    return np.outer(vector, vector)


def by_blocks(image: np.ndarray, side: int, function) -> np.ndarray:
    """Apply a function to each block of `side` x `side` pixels, one by one."""
    result = np.empty_like(image)
    for row in range(0, image.shape[0], side):
        for column in range(0, image.shape[1], side):
            block = np.s_[row : row + side, column : column + side]
            result[block] = function(image[block])
    return result


def paper_haar_block(block):
    return sum(projection(q) @ block @ projection(q) for q in (U, V))


def haar_l2_diag_block(block):
    return sum(projection(q) @ block @ projection(q) for q in (U, W, Z, V))


def haar_l1_block(block):
    (a, b), (c, d) = block
    return np.array([[a + d, b + c], [b + c, a + d]]) / 2


CLOSED_FORMS = {
    "paper_haar": (4, paper_haar_block),
    "haar_l2_diag": (4, haar_l2_diag_block),
    "haar_l1": (2, haar_l1_block),
}


@pytest.mark.parametrize("reading", HAAR)
def test_haar_readings_equal_their_closed_forms(reading):
    image = np.random.default_rng(0).uniform(0, 255, (24, 36))
    # in double precision, which enhance gives up only at the very end
    found = wavelet._READINGS[reading](image)
    side, block = CLOSED_FORMS[reading]
    np.testing.assert_allclose(found, by_blocks(image, side, block), atol=1e-10)
    np.testing.assert_array_equal(enhance(image, reading), found.astype(np.float32))


@pytest.mark.parametrize("reading", HAAR)
@pytest.mark.parametrize("shape", [(82, 82), (81, 43), (4, 7), (1, 1), (2, 3)])
def test_other_sizes_are_padded_symmetrically_and_cropped(reading, shape):
    image = np.random.default_rng(1).uniform(0, 255, shape)
    side, block = CLOSED_FORMS[reading]
    padded = np.pad(image, [(0, -length % 4) for length in shape], mode="symmetric")
    wanted = by_blocks(padded, side, block)[: shape[0], : shape[1]]
    np.testing.assert_allclose(wavelet._READINGS[reading](image), wanted, atol=1e-10)


@given(
    seed=st.integers(0, 999),
    reading=st.sampled_from(list(wavelets.READINGS)),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 70), st.integers(1, 70)),
)
@settings(max_examples=60, deadline=None)
def test_every_reading_is_what_pywavelets_gives(seed, reading, shape):
    """8-bit images to the last bit; of others the authors' code may round a number that lies at a half."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, shape).astype(np.uint8)
    wanted = wavelets.READINGS[reading](grey.astype(float))
    np.testing.assert_array_equal(enhance(grey, reading), wanted.astype(np.float32))
    if not reading.startswith("authors"):
        other = rng.uniform(-40, 300, shape)
        np.testing.assert_allclose(enhance(other, reading), wavelets.READINGS[reading](other), rtol=0, atol=1e-4)


@given(seed=st.integers(0, 999), gain=st.floats(-3, 3), reading=st.sampled_from(HAAR))
@settings(max_examples=30, deadline=None)
def test_haar_readings_are_linear_idempotent_projections(seed, gain, reading):
    first, second = np.random.default_rng(seed).uniform(0, 255, (2, 12, 8))
    apply = wavelet._READINGS[reading]
    np.testing.assert_allclose(apply(first + gain * second), apply(first) + gain * apply(second), atol=1e-9)
    np.testing.assert_allclose(apply(apply(first)), apply(first), atol=1e-10)
    assert np.linalg.norm(apply(first)) <= np.linalg.norm(first) + 1e-9
    assert apply(first).mean() == pytest.approx(first.mean())


@pytest.mark.parametrize("reading", READINGS)
def test_a_batch_is_its_images_and_8_bits_are_as_good_as_floats(reading):
    images = np.random.default_rng(2).integers(0, 256, (3, 40, 36)).astype(np.uint8)
    batch = enhance(images, reading)
    assert batch.dtype == np.float32
    for image, alone in zip(images, batch, strict=True):
        np.testing.assert_allclose(enhance(image, reading), alone, atol=1e-4)
        np.testing.assert_array_equal(enhance(image.astype(float), reading), enhance(image, reading))
    assert enhance(images[:0], reading).shape == (0, *batch.shape[1:])


@pytest.mark.parametrize(
    ("reading", "size"),
    [("authors_code", 156), ("authors_code_82", 82), ("gain2_clip", 152), ("paper_haar", 304), ("none", 304)],
)
def test_sizes_on_the_papers_grid(reading, size):
    assert enhance(np.zeros((304, 304), np.uint8), reading).shape == (size, size)


def test_the_authors_code_is_a_gain_of_two_that_clips():
    """On even grey, LL1 is twice the level and HH1 is nothing; one level deeper it is four times."""
    for level in (0, 30, 100, 127, 128, 255):
        flat = np.full((64, 64), level, np.uint8)
        for reading, gain in (("authors_code", 2), ("authors_code_82", 4), ("gain2_clip", 2)):
            assert np.unique(enhance(flat, reading)).tolist() == [min(255, gain * level)], (reading, level)


def test_the_second_level_of_the_authors_code_changes_nothing():
    """So the operator is two products with a fixed matrix: saturated LL1 plus saturated HH1."""
    import pywt

    image = np.random.default_rng(3).uniform(0, 255, (304, 304))
    low, (_, _, high) = pywt.dwt2(image, "db4", mode="symmetric")
    plain = np.clip(np.floor(low + 0.5), 0, 255) + np.clip(np.floor(high + 0.5), 0, 255)
    found = enhance(image, "authors_code")
    assert low.shape == (155, 155)
    # The inverse is exact to 4e-13: only a value right at a half could be rounded the other way.
    np.testing.assert_array_equal(found[:155, :155], np.minimum(plain, 255))


def test_the_authors_code_rounds_like_matlab():
    """Half away from zero: NumPy's own rounding goes to the even neighbour and would give 2."""
    np.testing.assert_array_equal(
        wavelet._saturated(np.array([2.5, 3.5, -0.5, -7.0, 254.5, 300.0])), [3, 4, 0, 0, 255, 255]
    )


def test_an_unknown_reading_is_named_with_what_is_known():
    with pytest.raises(UsageError, match=r"`paper_harr`.*authors_code.*Did you mean `paper_haar`"):
        enhance(np.zeros((4, 4)), "paper_harr")


def test_every_reading_of_the_registry_is_written():
    assert set(wavelet._READINGS) == set(READINGS)


@pytest.mark.real_data
def test_authors_code_gives_the_authors_released_images(real_data):
    """Mean absolute difference about 2.09 grey levels over all 370 files, which are JPEGs of the result.

    The released wavelet images count the files in MATLAB's order, which is alphabetical: 1, 10, 100, 101, ...
    Haar in place of db4 would differ by 14.0.
    """
    sources = sorted((real_data / "khan2020/ct/infected").glob("*.jpg"), key=lambda path: path.name)
    differences = []
    for number in range(0, len(sources), 19):
        green = cv2.imread(str(sources[number]), cv2.IMREAD_COLOR)[..., 1]
        theirs = cv2.imread(str(real_data / f"khan2020/dwt/infected/Corona_DWT{number + 1}.jpg"), cv2.IMREAD_GRAYSCALE)
        assert green.shape == (304, 304)
        assert theirs.shape == (156, 156)
        differences.append(np.abs(enhance(green, "authors_code") - theirs).mean())
    assert len(differences) == 20
    assert max(differences) < 4
    assert 1.8 < np.mean(differences) < 2.4
