"""Gradients that are summed in pairs, so that a network that uses a layer again is the same in every run.

TensorFlow adds three gradients or more by one operation, which begins with the one whose memory happens to be free. A
sum of three numbers depends on their order in its last bit, and a recurrent network (NABLA-3, IRRCNN) on the last bit
after a few steps: on a busy machine each of five processes trained another network. A sum of two has no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def sum_gradients_in_pairs() -> None:
    """Have TensorFlow, in this process from here on, add gradients two by two in the order in which they come.

    There is no public setting for it. Its optimization of arithmetic, which would put the pairs together again, is
    left out: a training step of NABLA-3 takes no longer without.
    """
    import tensorflow as tf
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import backprop

    pywrap_tfe.TFE_Py_RegisterVSpace(backprop._default_vspace._replace(aggregate_fn=_in_pairs))
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def _in_pairs(gradients: Sequence[Any]) -> Any:
    import tensorflow as tf
    from tensorflow.python.eager import backprop

    if not all(isinstance(gradient, tf.Tensor) for gradient in gradients):
        return backprop._aggregate_grads(gradients)  # of rows of an embedding, which no network here has
    total = gradients[0]
    for gradient in gradients[1:]:
        total = tf.add(total, gradient)
    return total
