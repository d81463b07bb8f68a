"""What stands in place of norms in NF-ResNets (Brock et al. 2021): signals of a known variance."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from resnet.models.convolution import Conv2D

# Of activations, by which the output has unit variance where the input is normal (section 4.1): a ReLU's by
# the formula there, the others as the authors measured them.
GAINS = {"relu": math.sqrt(2 / (1 - 1 / math.pi)), "gelu": 1.7015043497085571, "silu": 1.7881293296813965}
SMALLEST_VARIANCE = 1e-4  # of a filter, times its fan-in


@keras.saving.register_keras_serializable("resnet")
class StandardizedConv2D(Conv2D):
    """`keras.layers.Conv2D` by scaled weight standardisation (section 4.1).

    Each filter of n weights is used as gain * (weights - mean) / (deviation * sqrt(n)), times
    `gain_of_activation`; the learned gain of each begins at 1.
    """

    gain_initializer = "ones"

    def __init__(self, *args: Any, gain_of_activation: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.gain_of_activation = gain_of_activation

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.gain = self.add_weight(name="gain", shape=(self.filters,), initializer=self.gain_initializer)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = self.convolution_op(inputs, tf.cast(self.standardized(), inputs.dtype))
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs

    def standardized(self) -> tf.Tensor:
        """The kernel as it is used, float32."""
        kernel = tf.cast(self.kernel, tf.float32)
        mean, variance = tf.nn.moments(kernel, [0, 1, 2], keepdims=True)
        size = math.prod(kernel.shape[:3])
        gain = tf.cast(self.gain, tf.float32) * self.gain_of_activation
        return (kernel - mean) * tf.math.rsqrt(tf.maximum(variance * size, SMALLEST_VARIANCE)) * gain

    def save_own_variables(self, store: Any) -> None:
        keras.layers.Layer.save_own_variables(self, store)  # a convolution's own is of kernel and bias

    def load_own_variables(self, store: Any) -> None:
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain_of_activation": self.gain_of_activation}


@keras.saving.register_keras_serializable("resnet")
class ExpectedDeviation(keras.layers.Layer):
    """Divides by the deviation expected of a sum of `summed` branches, each times `alpha`, and a unit signal.

    It is the root of 1 + summed * alpha^2 (section 3); in a loop that of each block, of one branch more.
    """

    def __init__(self, alpha: float, summed: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = alpha
        self.summed = summed

    def deviation_initializer(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        summed = self.summed + tf.range(shape[-1], dtype=tf.float32)
        return tf.cast(tf.sqrt(1 + self.alpha**2 * summed), dtype or "float32")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.deviation = self.add_weight(
            name="deviation",
            shape=(1,),
            initializer=self.deviation_initializer,
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs / self.deviation

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "summed": self.summed}
