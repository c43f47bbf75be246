"""Gradients that are summed in pairs, so that a network that uses a layer again is the same in every run.

TensorFlow adds three gradients or more by one operation, which begins with the one whose memory happens to be free. A
sum of three numbers depends on their order in its last bit, and a recurrent network (NABLA-3, IRRCNN) on the last bit
after a few steps: on a busy machine each of five processes trained another network. A sum of two has no order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras

ARITHMETIC = "arithmetic_optimization"


@contextlib.contextmanager
def gradients_summed_in_pairs() -> Iterator[None]:
    """Have TensorFlow add gradients two by two, in the order in which they come, where this is entered.

    There is no public setting for it. Its optimization of arithmetic, which would put the pairs together again, is
    off inside: a training step of NABLA-3 takes no longer without. On other backends, nothing is done.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import backprop

    optimizer = tf.config.optimizer
    before = optimizer.get_experimental_options().get(ARITHMETIC)
    pywrap_tfe.TFE_Py_RegisterVSpace(backprop._default_vspace._replace(aggregate_fn=_in_pairs))
    optimizer.set_experimental_options({ARITHMETIC: False})
    try:
        yield
    finally:
        pywrap_tfe.TFE_Py_RegisterVSpace(backprop._default_vspace)
        optimizer.set_experimental_options({ARITHMETIC: before})


def _in_pairs(gradients: Sequence[Any]) -> Any:
    import tensorflow as tf
    from tensorflow.python.eager import backprop

    if not all(isinstance(gradient, tf.Tensor) for gradient in gradients):
        return backprop._aggregate_grads(gradients)  # of rows of an embedding, which no network here has
    total = gradients[0]
    for gradient in gradients[1:]:
        total = tf.add(total, gradient)
    return total
