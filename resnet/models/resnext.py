"""ResNeXt for CIFAR (Xie et al. 2017, section 5.3); for ImageNet it is `resnet_imagenet` of `cardinality` 32.

Trainable parameters for ten classes: 29, 8x64d: 34,426,698; 29, 16x64d: 68,155,210.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from resnet.models import blocks
from resnet.models.blocks import Stage, Style
from resnet.models.resnet import STRIDES, stem
from resnet.options import with_options_of
from resnet.rules import blocks_per_stage

FILTERS = (64, 256, 512, 1024)  # of the stem and of the stages


@with_options_of(
    Style, without=("alpha",), shortcut="projection_bn", conv_bias=False, l2=2.5e-4, strided_conv="3x3"
)
def resnext(
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: int = 29,
    cardinality: int = 8,
    group_width: int = 64,
    strides: Sequence[int] = STRIDES,
    survival: float = 1.0,
    stage: str = "looped",
    recompute: bool = False,
    **options: Any,
) -> keras.Model:
    """ResNet of depth 9n+2 whose bottlenecks convolve in `cardinality` groups.

    A group has `group_width` channels in the first stage, then twice and four times as many; stages end in
    256, 512 and 1,024. `strides` are those of the stem and of each stage. Maps float images `(N, H, W, C)` to
    logits `(N, num_classes)`. `survival`, `stage` and `recompute` are those of `blocks.stages`, all others
    those of `Style`. Raises ValueError for a depth that is not 9n+2.
    """
    n, style = blocks_per_stage(depth, 9), Style(**options)
    inputs = keras.Input(input_shape, name="images")
    branches = [
        partial(blocks.bottleneck, cardinality * group_width * 2**i, out, style, groups=cardinality)
        for i, out in enumerate(FILTERS[1:])
    ]
    x = blocks.stages(
        stem(inputs, FILTERS[0], strides[0], style),
        partial(blocks.postactivation_block, style=style),
        [Stage(branch, n, s) for branch, s in zip(branches, strides[1:], strict=True)],
        survival=survival,
        stage=stage,
        recompute=recompute,
    )
    name = f"resnext_{depth}_{cardinality}x{group_width}d"
    return keras.Model(inputs, blocks.classifier(x, num_classes, style), name=name)
