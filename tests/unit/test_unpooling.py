"""Max-pooling with indices and unpooling, against loops and a scatter in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from covidpipe import models
from covidpipe.inference.for_openvino import Pool, Unpool, rewritten
from covidpipe.models.layers import MaxPoolWithIndices, MaxUnpool

# Few distinct values: most windows have ties. Sides 2..7: odd ones too.
batches = st.tuples(st.integers(1, 2), st.integers(2, 7), st.integers(2, 7), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]))
)


def pool_by_loops(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The maximum of each window and its flat position in the image, the first of equals."""
    n, rows, columns, channels = x.shape
    pooled = np.empty((n, rows // k, columns // k, channels), x.dtype)
    positions = np.empty(pooled.shape, int)
    for i, r, c, ch in np.ndindex(pooled.shape):
        window = x[i, r * k : (r + 1) * k, c * k : (c + 1) * k, ch]
        row, column = np.unravel_index(np.argmax(window), window.shape)
        pooled[i, r, c, ch] = window[row, column]
        positions[i, r, c, ch] = (r * k + row) * columns + c * k + column
    return pooled, positions


def scatter(values: np.ndarray, positions: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Each value at its flat position of an image of zeros."""
    n, channels = values.shape[0], values.shape[3]
    out = np.zeros((n, rows * columns, channels), values.dtype)
    for i, r, c, ch in np.ndindex(values.shape):
        out[i, positions[i, r, c, ch], ch] = values[i, r, c, ch]
    return out.reshape(n, rows, columns, channels)


def bits(array) -> np.ndarray:
    """The bits of float32 values; minus zero as zero, for either is a maximum of both."""
    return (np.asarray(array, np.float32) + np.float32(0)).view(np.uint32)


@settings(max_examples=40, deadline=None)
@given(x=batches, k=st.sampled_from([2, 3]), kinds=st.sampled_from([(MaxPoolWithIndices, MaxUnpool), (Pool, Unpool)]))
def test_equals_a_scatter_bit_for_bit(x, k, kinds):
    if min(x.shape[1:3]) < k:
        return
    pool, unpool = kinds
    pooled, indices = pool(k)(x)
    expected, positions = pool_by_loops(x, k)
    assert np.array_equal(bits(pooled), bits(expected))

    values = np.random.default_rng(0).normal(size=expected.shape).astype(np.float32)
    unpooled = unpool(k)(values, indices, x)
    assert np.array_equal(bits(unpooled), bits(scatter(values, positions, *x.shape[1:3])))


@pytest.mark.parametrize("size", [64, 67])
def test_a_network_flattened_for_openvino_answers_alike(size):
    network = models.build("cov_raseg", (size, size, 1), width=0.125)
    other = rewritten(network)
    assert [type(layer) for layer in other.layers if isinstance(layer, MaxPoolWithIndices)] == [Pool, Pool]
    image = np.random.default_rng(0).random((1, size, size, 1), np.float32)
    assert np.allclose(other.predict_on_batch(image), network.predict_on_batch(image), rtol=0, atol=1e-6)


def test_the_first_of_equals_wins():
    _, indices = MaxPoolWithIndices()(np.zeros((1, 4, 4, 1), np.float32))
    assert not np.any(indices)


def test_an_odd_last_row_and_column_come_back_as_zeros():
    x = np.ones((1, 75, 61, 2), np.float32)
    unpooled = np.asarray(MaxUnpool()(*MaxPoolWithIndices()(x), x))
    assert unpooled.shape == x.shape
    assert not unpooled[:, 74].any()
    assert not unpooled[:, :, 60].any()
    assert unpooled.sum() == 37 * 30 * 2


@pytest.mark.parametrize("shape", [(1, 4, 6, 2), (1, 5, 7, 1)])
def test_gradients_equal_finite_differences(shape):
    """Of a weighted sum of the squares of unpool(pool(x) ** 2), so that the gradient differs at every pixel."""
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(1)
    # Distinct values far apart: a step of the finite difference changes no maximum.
    x = rng.permutation(np.arange(np.prod(shape), dtype=np.float64)).reshape(shape) / 10 + 0.1
    weights = rng.normal(size=shape)
    pool, unpool = MaxPoolWithIndices(dtype="float64"), MaxUnpool(dtype="float64")

    def loss(x):
        pooled, indices = pool(x)
        return ops.sum(weights * unpool(pooled**2, indices, x))

    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        value = loss(variable)
    gradient = np.asarray(tape.gradient(value, variable))

    step = 1e-4
    numerical = np.zeros(shape)
    for at in np.ndindex(shape):
        nudge = np.zeros(shape)
        nudge[at] = step
        numerical[at] = (float(loss(x + nudge)) - float(loss(x - nudge))) / (2 * step)
    np.testing.assert_allclose(gradient, numerical, atol=1e-6)
