"""Attention at the end of a block's branch; each layer maps float `(N, H, W, C)` to the same shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("resnet")
class SqueezeExcitation(keras.layers.Layer):
    """Channels weighted by what the whole image holds (Hu et al. 2018, section 3).

    The means over the image pass a layer of C / `reduction` rectified units, at least one, and a sigmoid
    for each channel.
    """

    kernel1_initializer = kernel2_initializer = "he_normal"
    bias1_initializer = bias2_initializer = "zeros"

    def __init__(self, reduction: int = 16, **kwargs: Any):
        super().__init__(**kwargs)
        self.reduction = reduction

    def build(self, input_shape: tuple[int, ...]) -> None:
        channels = input_shape[-1]
        hidden = max(1, channels // self.reduction)
        self.kernel1 = self._weight("kernel1", channels, hidden)
        self.bias1 = self._weight("bias1", hidden)
        self.kernel2 = self._weight("kernel2", hidden, channels)
        self.bias2 = self._weight("bias2", channels)

    def _weight(self, name, *shape):
        return self.add_weight(name=name, shape=shape, initializer=getattr(self, f"{name}_initializer"))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.weigh_channels(inputs, [tf.reduce_mean(inputs, [1, 2])])

    def weigh_channels(self, inputs: tf.Tensor, summaries: Sequence[tf.Tensor]) -> tf.Tensor:
        """By the sum of what the layers make of each `(N, C)` of the summaries."""
        logits = sum(
            tf.matmul(tf.nn.relu(x @ self.kernel1 + self.bias1), self.kernel2) + self.bias2 for x in summaries
        )
        return inputs * tf.sigmoid(logits)[:, None, None]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reduction": self.reduction}


@keras.saving.register_keras_serializable("resnet")
class CBAM(SqueezeExcitation):
    """Channels weighted by the image's means and maxima, then pixels by those of their channels.

    Woo et al. 2018, section 3. The weight of a pixel is a sigmoid of a 7x7 convolution, without the batch
    normalisation that the authors' program adds to it.
    """

    pixels_initializer = "he_normal"

    def build(self, input_shape: tuple[int, ...]) -> None:
        super().build(input_shape)
        self.pixels = self._weight("pixels", 7, 7, 2, 1)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        means, maxima = tf.reduce_mean(inputs, [1, 2]), tf.reduce_max(inputs, [1, 2])
        x = self.weigh_channels(inputs, [means, maxima])
        both = [tf.reduce_mean(x, -1, keepdims=True), tf.reduce_max(x, -1, keepdims=True)]
        return x * tf.sigmoid(tf.nn.conv2d(tf.concat(both, -1), self.pixels, 1, "SAME"))
