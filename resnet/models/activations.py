"""Activations that are fast on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, reduce
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.polynomial import Chebyshev, Polynomial

GATE_ENDS = 4.0  # beyond which GELU's gate is taken for 0 or 1, to 3e-5


@keras.saving.register_keras_serializable("resnet")
class ReLU(keras.layers.ReLU):
    """`keras.layers.ReLU`, which in bfloat16 on a CPU takes a quarter of the time.

    Same arguments and results; but a NaN whose sign is negative becomes 0, as it does where TensorFlow
    fuses batch normalisation and ReLU. Leaky and bounded ones are Keras' own.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        plain = not self.negative_slope and not self.threshold and self.max_value is None
        on_gpu = tf.config.list_physical_devices("GPU")
        return _relu(inputs) if plain and inputs.dtype == tf.bfloat16 and not on_gpu else super().call(inputs)


@tf.custom_gradient
def _relu(x):
    y = _where_positive(x, x)
    return y, lambda dy: _where_positive(dy, y)


def _where_positive(values, x):
    """The bfloat16 `values` where x > 0, else 0.

    Eigen would turn each number into a float32 and back, but the bits, as integers, are above 0 where the
    number is.
    """
    bits = [tf.bitcast(v, tf.int16) for v in (values, x)]
    chosen = tf.raw_ops.ReluGrad(gradients=bits[0], features=bits[1])
    # In place Eigen would go number by number: the operands are in use until the result is there.
    with tf.control_dependencies([chosen]):
        tf.raw_ops.Assert(condition=tf.constant(True), data=[values, x])
    return tf.bitcast(chosen, tf.bfloat16)


@keras.saving.register_keras_serializable("resnet")
class Activation(keras.layers.Activation):
    """`keras.layers.Activation`, of which XLA makes one loop where it trains on a CPU.

    Same arguments and results, but that bfloat16 is rounded once, at the end, and that its GELU is of
    polynomials, off by 3e-4 of its input at most, and its slope by 6e-4: less than the rounding. What GELU
    or SiLU consist of would each go through the memory.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or tf.config.list_physical_devices("GPU") or not tf.test.is_built_with_xla():
            return super().call(inputs)
        outputs = _in_one_loop(self.activation, inputs.dtype)(tf.reshape(inputs, [-1]))
        return tf.reshape(outputs, tf.shape(inputs))


@cache
def _in_one_loop(function, dtype):
    """`function` of one axis, compiled by XLA, as is its gradient."""
    numbers = tf.TensorSpec([None], dtype)
    slope = _slope_of(function)
    if function is keras.activations.gelu and dtype == tf.bfloat16:
        function, slope = _gelu_by_polynomials()

    @tf.function(input_signature=[numbers], autograph=False, jit_compile=True)
    def forward(x):
        return tf.cast(function(tf.cast(x, tf.float32)), dtype)

    @tf.function(input_signature=[numbers, numbers], autograph=False, jit_compile=True)
    def backward(x, dy):
        return tf.cast(slope(tf.cast(x, tf.float32)) * tf.cast(dy, tf.float32), dtype)

    @tf.custom_gradient
    def run(x):
        return forward(x), lambda dy: backward(x, dy)

    return run


def _slope_of(function):
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)

    return slope


def _gelu_by_polynomials():
    """GELU (Hendrycks and Gimpel 2016), x times the normal distribution's function, and its slope.

    A loop of erf and exp takes three times as long as one of polynomials, whose error bfloat16 cannot show.
    """
    from scipy.special import ndtr  # other networks need not wait for it

    density = 1 / math.sqrt(2 * math.pi)
    gate = _odd(lambda x: ndtr(x) - 0.5, degree=13)
    slope = _odd(lambda x: ndtr(x) - 0.5 + x * density * np.exp(-x * x / 2), degree=15)
    return (lambda x: x * (0.5 + gate(x))), (lambda x: 0.5 + slope(x))


def _odd(function: Callable[[Any], Any], degree: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A polynomial in place of the odd `function`, which from the ends on is 0.5, or -0.5."""
    fit = Chebyshev.interpolate(function, degree, domain=[-GATE_ENDS, GATE_ENDS])
    factors = (fit * (0.5 / fit(GATE_ENDS))).convert(kind=Polynomial).coef[:0:-2].astype("float32")

    def of(x):
        x = tf.clip_by_value(x, -GATE_ENDS, GATE_ENDS)
        square = x * x
        return x * reduce(lambda y, factor: y * square + factor, factors)

    return of
