"""Batch normalization as one operation of TensorFlow while a network is trained on a CPU: half the time of a U-Net.

Keras computes mean, variance and the normalized values in a dozen passes over memory, and their gradients in two dozen.
TensorFlow's own operation does the same in two and three. It stands in while a network is trained; what is saved has
Keras' layers alone.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

CHANNELS_IN_BFLOAT16 = 16  # of anything but a multiple, oneDNN takes ten times as long as Keras


@keras.saving.register_keras_serializable(package="covidpipe")  # a network of it can be copied; none is saved
class FusedBatchNormalization(layers.BatchNormalization):
    """Keras' layer, whose training step over (n, rows, columns, channels) is one operation of TensorFlow.

    Mean and variance are those of the batch, as Keras computes them, to rounding; outside of training, and where the
    operation would be slower, it is Keras' layer.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """As `keras.layers.BatchNormalization`."""
        if not (training and self.trainable) or mask is not None or not self._is_faster(inputs.shape):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        found = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            exponential_avg_factor=1.0,
            is_training=True,
        )
        pixels = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        variance = found.batch_variance * (pixels - 1) / pixels  # TensorFlow's is that of a sample, Keras' is not
        for moving, new in ((self.moving_mean, found.batch_mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return found.y

    def _is_faster(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 4 and (self.compute_dtype == "float32" or shape[-1] % CHANNELS_IN_BFLOAT16 == 0)


def fused(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A new layer like this one, without weights; a batch normalization over channels becomes the fused one."""
    kind = type(layer)
    if kind is layers.BatchNormalization and layer.axis in (-1, 3) and layer.center and layer.scale:
        kind = FusedBatchNormalization
    return kind.from_config(layer.get_config())
