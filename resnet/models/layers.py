"""Small layers that Keras lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("resnet")
class IdentityShortcut(keras.layers.Layer):
    """Shortcut without parameters: take every `strides`-th pixel and pad channels with zeros.

    Option A of He et al. 2015, section 3.3: `(N, H, W, C)` to
    `(N, ceil(H / strides), ceil(W / strides), filters)`, where `filters >= C`.
    """

    def __init__(self, filters: int, strides: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        added = self.filters - inputs.shape[-1]
        strided = inputs[:, :: self.strides, :: self.strides, :]
        return tf.pad(strided, [[0, 0], [0, 0], [0, 0], [added // 2, added - added // 2]])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        n, h, w, _ = input_shape
        return n, *(size and -(-size // self.strides) for size in (h, w)), self.filters

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "strides": self.strides}


@keras.saving.register_keras_serializable("resnet")
class Scale(keras.layers.Layer):
    """A learned factor of its input, or one for each channel, which begins at `start`."""

    def __init__(self, start: float = 0.0, by_channel: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.start = start
        self.by_channel = by_channel
        self.factor_initializer = keras.initializers.Constant(start)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = input_shape[-1:] if self.by_channel else (1,)
        self.factor = self.add_weight(name="factor", shape=shape, initializer=self.factor_initializer)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * self.factor

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start, "by_channel": self.by_channel}


@keras.saving.register_keras_serializable("resnet")
class Shift(keras.layers.Layer):
    """A learned number added to its input, which begins at 0 (FixUp, Zhang et al. 2019, section 3)."""

    shift_initializer = "zeros"

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.shift = self.add_weight(name="shift", shape=(1,), initializer=self.shift_initializer)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + self.shift

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


@keras.saving.register_keras_serializable("resnet")
class Dropout(keras.layers.Layer):
    """`keras.layers.Dropout` whose random state is a weight, so that each block of a loop has its own."""

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = rate

    @staticmethod
    def state_initializer(shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        return keras.random.randint(shape, 0, 2**30, dtype=dtype)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.state = self.add_weight(
            name="state",
            shape=(2,),
            dtype="int32",
            initializer=self.state_initializer,
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.rate:
            return inputs
        draws = tf.random.stateless_uniform(tf.shape(inputs), self.state.value)
        self.state.assign_add([0, 1])
        return tf.where(draws < self.rate, tf.zeros_like(inputs), inputs / (1 - self.rate))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable("resnet")
class SurvivalGates(keras.layers.Layer):
    """Which blocks survive this training step (stochastic depth, Huang et al. 2016, section 3).

    Gives one gate per block, `(blocks, 1, 1, 1)`: in training 1 with the chance of `survival` and else 0,
    drawn anew each step; in inference that chance. The input only says where in a network it stands.
    """

    def __init__(self, survival: Sequence[float], seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.survival = list(survival)
        self.seed = seed if seed is not None else keras.random.randint([], 0, 2**30).numpy().item()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.steps = self.add_weight(
            name="steps",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        chances = tf.reshape(tf.constant(self.survival, self.compute_dtype), (-1, 1, 1, 1))
        if not training:
            return chances
        draws = tf.random.stateless_uniform(tf.shape(chances), (self.seed, self.steps.value))
        self.steps.assign_add(1)
        return tf.cast(draws < tf.cast(chances, tf.float32), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return len(self.survival), 1, 1, 1

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "survival": self.survival, "seed": self.seed}
