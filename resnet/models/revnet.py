"""Reversible residual networks (Gomez et al. 2017): the backward pass finds activations from the output.

Trainable parameters for ten classes: 38: 464,890; 110: 1,729,194; published as 0.46 M and 1.73 M (table 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from resnet.models import blocks
from resnet.models.blocks import Stage, Style
from resnet.models.layers import IdentityShortcut
from resnet.models.resnet import STRIDES, stem
from resnet.options import with_options_of
from resnet.rules import blocks_per_stage


@with_options_of(Style, without=("shortcut", "strided_conv", "residual", "alpha"), conv_bias=False)
def revnet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: int = 38,
    filters: Sequence[int] = (32, 64, 112),
    strides: Sequence[int] = STRIDES,
    stage: str = "looped",
    recompute: bool = True,
    **options: Any,
) -> keras.Model:
    """RevNet of depth 12n+2: three stages of n reversible units of two pre-activation branches.

    A unit is two blocks here. Each has half of its stage's `filters`: it maps the halves (a, b) of the
    channels to (b, a + F(b)). With `recompute` a looped stage keeps its output alone for the backward pass,
    which subtracts the branches again; that is exact but for rounding, for which float32 is best. `strides`
    are those of the stem and of each stage. Maps float images `(N, H, W, C)` to logits `(N, num_classes)`.
    `stage` is that of `blocks.stages`, all others are those of `Style`. Raises ValueError for a depth that is
    not 12n+2.
    """
    n, style = blocks_per_stage(depth, 12), Style(shortcut="identity", **options)
    inputs = keras.Input(input_shape, name="images")
    block = partial(_block, style=style)
    x = blocks.stages(
        stem(inputs, filters[0], strides[0], style),
        block,
        [Stage(partial(blocks.basic, f // 2), 2 * n, s) for f, s in zip(filters, strides[1:], strict=True)],
        first_block=partial(block, activated=True),
        stage=stage,
        recompute="inverse" if recompute else False,
    )
    x = style.activate(style.normalize(x, "final"), "final")
    return keras.Model(inputs, blocks.classifier(x, num_classes), name=f"revnet_{depth}")


def _block(x, branch, style, *, at, activated=False):
    """(a, b) + (F(b), 0), with the halves swapped; where the shape changes, a shortcut pads both halves."""
    _, y = blocks.preactivated(
        SecondHalf(name=f"{at.name}_half")(x), branch, style, at=at, activated=activated
    )
    y = style.end_branch(y, at.name)
    y = FirstHalf(name=f"{at.name}_whole")(y)
    strides = branch[0].strides
    if strides > 1 or x.shape[-1] != y.shape[-1]:
        x = IdentityShortcut(y.shape[-1], strides, name=f"{at.name}_shortcut")(x)
    return SwapHalves(name=f"{at.name}_swap")(blocks.add(x, y, at))


@keras.saving.register_keras_serializable("resnet")
class SecondHalf(keras.layers.Layer):
    """The second half of the channels."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs[..., inputs.shape[-1] // 2 :]

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return *input_shape[:-1], input_shape[-1] // 2


@keras.saving.register_keras_serializable("resnet")
class FirstHalf(keras.layers.Layer):
    """Its input as the first half of the channels; zeros are the second."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.concat([inputs, tf.zeros_like(inputs)], -1)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return *input_shape[:-1], input_shape[-1] * 2


@keras.saving.register_keras_serializable("resnet")
class SwapHalves(keras.layers.Layer):
    """The second half of the channels before the first."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.roll(inputs, inputs.shape[-1] // 2, -1)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape
