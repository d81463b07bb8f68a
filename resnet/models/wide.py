"""Wide residual networks (Zagoruyko and Komodakis 2016, table 1).

Trainable parameters for ten classes: 28-10: 36,479,194; 40-4: 8,949,210; 16-8: 10,961,370.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from resnet.models import blocks
from resnet.models.blocks import Stage, Style
from resnet.models.resnet import STRIDES
from resnet.options import with_options_of
from resnet.rules import blocks_per_stage

FILTERS = (16, 32, 64)


@with_options_of(Style, without=("strided_conv",), shortcut="projection_bn", conv_bias=False, l2=2.5e-4)
def wide_resnet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: int = 28,
    width: int = 10,
    dropout: float = 0.0,
    strides: Sequence[int] = STRIDES,
    survival: float = 1.0,
    stage: str = "looped",
    recompute: bool = False,
    **options: Any,
) -> keras.Model:
    """Pre-activation ResNet of depth 6n+4: basic blocks of 16, 32 and 64 times `width` filters.

    `dropout` stands between the convolutions of each block (section 2.4). `strides` are those of the stem and
    of each stage. Maps float images `(N, H, W, C)` to logits `(N, num_classes)`. `survival`, `stage` and
    `recompute` are those of `blocks.stages`, all others those of `Style`. Raises ValueError for a depth that
    is not 6n+4.
    """
    n, style = blocks_per_stage(depth, 6, others=4), Style(**options)
    inputs = keras.Input(input_shape, name="images")
    x = blocks.stages(
        style.conv(inputs, FILTERS[0], 3, strides[0], name="stem_conv", of_images=True),
        partial(blocks.preactivation_block, style=style, dropout=dropout),
        [Stage(partial(blocks.basic, f * width), n, s) for f, s in zip(FILTERS, strides[1:], strict=True)],
        survival=survival,
        stage=stage,
        recompute=recompute,
    )
    x = style.activate(style.normalize(x, "final"), "final")
    return keras.Model(inputs, blocks.classifier(x, num_classes, style), name=f"wide_resnet_{depth}_{width}")
