"""Sums of gradients: of two at a time while a network is trained, so that no order is left to chance."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from covidpipe.training.sums import gradients_summed_in_pairs


def gradient_of_three() -> tuple[np.ndarray, list[int]]:
    """The gradient by weights that are used three times, and how many each sum in its graph adds."""
    weights = tf.Variable([1.0, 2.0])

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(x * weights) + tf.reduce_sum(weights**2) + tf.reduce_sum(tf.sin(weights))
        return tape.gradient(total, weights)

    x = tf.constant([3.0, 5.0])
    made = gradient.get_concrete_function(x).graph.get_operations()
    return gradient(x).numpy(), [len(op.inputs) for op in made if op.type == "AddN"]


def test_gradients_are_added_two_by_two_while_a_network_is_trained():
    wanted = np.array([3 + 2 + np.cos(1), 5 + 4 + np.cos(2)])
    options = tf.config.optimizer.get_experimental_options
    before = options()
    with gradients_summed_in_pairs():
        found, sums = gradient_of_three()
        assert options()["arithmetic_optimization"] is False
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert not sums
    # Nothing of it is left behind: what is computed next in this process is what another process computes.
    assert options() == before
    found, sums = gradient_of_three()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert sums == [3], "TensorFlow no longer adds three at once: is this still needed?"


def test_rows_of_an_embedding_are_left_to_tensorflow():
    table = tf.Variable(np.eye(3, dtype=np.float32))
    with gradients_summed_in_pairs(), tf.GradientTape() as tape:
        total = sum(tf.reduce_sum(tf.gather(table, [row, row])) for row in range(3))
        gradient = tape.gradient(total, table)
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), np.full((3, 3), 2.0))
