"""Sums of gradients: of two at a time, so that no order is left to chance."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import backprop

from covidpipe.training.sums import sum_gradients_in_pairs


@pytest.fixture
def used_three_times():
    """A function that tells its gradient, and how many each sum in its graph adds."""
    weights = tf.Variable([1.0, 2.0])

    def traced():
        @tf.function
        def gradient(x):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(x * weights) + tf.reduce_sum(weights**2) + tf.reduce_sum(tf.sin(weights))
            return tape.gradient(total, weights)

        x = tf.constant([3.0, 5.0])
        made = gradient.get_concrete_function(x).graph.get_operations()
        return gradient(x).numpy(), [len(op.inputs) for op in made if op.type == "AddN"]

    yield traced
    sum_gradients_in_pairs()


def test_gradients_are_added_two_by_two(used_three_times):
    wanted = np.array([3 + 2 + np.cos(1), 5 + 4 + np.cos(2)])
    pywrap_tfe.TFE_Py_RegisterVSpace(backprop._default_vspace)
    found, sums = used_three_times()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert sums == [3], "TensorFlow no longer adds three at once: is this still needed?"
    sum_gradients_in_pairs()
    found, sums = used_three_times()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert not sums
    assert tf.config.optimizer.get_experimental_options()["arithmetic_optimization"] is False


def test_rows_of_an_embedding_are_left_to_tensorflow():
    sum_gradients_in_pairs()
    table = tf.Variable(np.eye(3, dtype=np.float32))
    with tf.GradientTape() as tape:
        total = sum(tf.reduce_sum(tf.gather(table, [row, row])) for row in range(3))
    np.testing.assert_array_equal(tf.convert_to_tensor(tape.gradient(total, table)), np.full((3, 3), 2.0))
