"""What a network costs: floating-point operations of one image."""

from __future__ import annotations

from typing import Any

import keras


def gflop(network: keras.Model) -> float | None:
    """Operations of one image, in thousand millions, as TensorFlow's profiler counts them in the network's graph.

    A multiplication with its addition is two operations, so that this is twice what is told as multiply-accumulates.

    Parameters
    ----------
    network : keras.Model
        With a fixed size of its input.

    Returns
    -------
    float, or None
        None on another backend than TensorFlow.

    Examples
    --------
    >>> image = keras.Input((10, 10, 1))
    >>> gflop(keras.Model(image, keras.layers.Conv2D(5, 3, padding="same", use_bias=False)(image)))  # 2 x 9 x 500
    9e-06
    """
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert
    def answer(image: Any) -> Any:
        return network(image, training=False)

    graph = tf.function(answer).get_concrete_function(tf.TensorSpec([1, *network.input_shape[1:]], tf.float32)).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build()
    return profiler.profile(graph, options=options).total_float_ops / 1e9
