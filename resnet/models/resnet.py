"""The CIFAR networks: residual v1 of He et al. 2015 and v2 of He et al. 2016, and plain ones.

Parameters with convolution biases and projection shortcuts, ten classes, as Keras counts them:
v1 20: 274,442; v1 110: 1,742,762; v2 110: 3,323,210; v2 164: 4,972,682; v2 1001: 30,539,498;
plain 20: 271,786; plain 56: 859,114. Of the papers (no biases; v2 in filters of 16, 32 and 64), trainable:
v1 20, identity shortcuts: 269,722, by FixUp 268,393; v2 164: 1.70 M; v2 1001: 10.33 M.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from resnet.models import blocks
from resnet.models.blocks import Stage, Style
from resnet.options import with_options_of
from resnet.rules import blocks_per_stage

STRIDES = (1, 1, 2, 2)
RESIDUAL = ("shortcut", "residual", "attention", "attention_reduction", "survival")


@with_options_of(Style, without=("strided_conv", "alpha"))
def resnet_v1(
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: int = 20,
    filters: Sequence[int] = (16, 32, 64),
    strides: Sequence[int] = STRIDES,
    survival: float = 1.0,
    stage: str = "looped",
    recompute: bool = False,
    **options: Any,
) -> keras.Model:
    """ResNet of depth 6n+2: basic blocks in three stages of `filters`.

    He et al. 2015, section 4.2. `strides` are those of the stem and of each stage. Maps float images
    `(N, H, W, C)` to logits `(N, num_classes)`. `survival`, `stage` and `recompute` are those of
    `blocks.stages`, all others those of `Style`. Raises ValueError for a depth that is not 6n+2.
    """
    n, style = blocks_per_stage(depth, 6), Style(**options)
    inputs = keras.Input(input_shape, name="images")
    x = stem(inputs, filters[0], strides[0], style)
    block = partial(blocks.postactivation_block, style=style)
    wanted = [Stage(partial(blocks.basic, f), n, s) for f, s in zip(filters, strides[1:], strict=True)]
    x = blocks.stages(x, block, wanted, survival=survival, stage=stage, recompute=recompute)
    name = "plain" if style.shortcut == "none" else "resnet_v1"
    return keras.Model(inputs, blocks.classifier(x, num_classes, style), name=f"{name}_{depth}")


@with_options_of(resnet_v1, without=RESIDUAL)
def plain(
    input_shape: tuple[int, int, int], num_classes: int, depth: int = 20, **options: Any
) -> keras.Model:
    """`resnet_v1` without its shortcuts (He et al. 2015, section 4.2), with its other options."""
    return resnet_v1(input_shape, num_classes, depth, shortcut="none", **options)


@with_options_of(Style)
def resnet_v2(
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: int = 29,
    filters: Sequence[int] = (16, 64, 128),
    out_filters: Sequence[int] = (64, 128, 256),
    strides: Sequence[int] = STRIDES,
    survival: float = 1.0,
    stage: str = "looped",
    recompute: bool = False,
    **options: Any,
) -> keras.Model:
    """Pre-activation ResNet of depth 9n+2: bottlenecks of `filters`, which end in `out_filters`.

    He et al. 2016, where the filters are 16, 32 and 64; the default is the Keras example's. `strides` are
    those of the stem and of each stage. Maps float images `(N, H, W, C)` to logits `(N, num_classes)`.
    `survival`, `stage` and `recompute` are those of `blocks.stages`, all others those of `Style`. Raises
    ValueError for a depth that is not 9n+2.
    """
    n, style = blocks_per_stage(depth, 9), Style(**options)
    inputs = keras.Input(input_shape, name="images")
    x = stem(inputs, 16, strides[0], style)
    block = partial(blocks.preactivation_block, style=style)
    wanted = [
        Stage(partial(blocks.bottleneck, f, out, style), n, s)
        for f, out, s in zip(filters, out_filters, strides[1:], strict=True)
    ]
    x = blocks.stages(
        x,
        block,
        wanted,
        first_block=partial(block, activated=True),
        survival=survival,
        stage=stage,
        recompute=recompute,
    )
    x = style.activate(style.normalize(x, "final"), "final")
    return keras.Model(inputs, blocks.classifier(x, num_classes, style), name=f"resnet_v2_{depth}")


def stem(x: keras.KerasTensor, filters: int, strides: int, style: Style) -> keras.KerasTensor:
    """The first 3x3 convolution with its normalisation and activation."""
    x = style.conv(x, filters, 3, strides, name="stem_conv", of_images=True)
    return style.activate(style.normalize(x, "stem"), "stem")
