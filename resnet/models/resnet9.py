"""ResNet-9, the network of the speed records on CIFAR-10 (D. Page, "How to train your ResNet", 2018).

Trainable parameters for ten classes, as published there: 6,573,120.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from resnet.models import blocks, names
from resnet.models.blocks import Spot, Style
from resnet.options import with_options_of


@with_options_of(
    Style,
    without=("residual", "alpha", "attention", "attention_reduction", "padding", "strided_conv"),
    shortcut="identity",
    conv_bias=False,
    l2=0.0,
)
def resnet9(
    input_shape: tuple[int, int, int],
    num_classes: int,
    filters: Sequence[int] = (128, 256, 512),
    branches: Sequence[int] = (2, 0, 2),
    stem_filters: int = 64,
    stem_size: int = 3,
    stem_norm: bool = True,
    logits_std: float | None = None,
    **options: Any,
) -> keras.Model:
    """A few wide stages, each a convolution, a max pool and one residual branch.

    A stage has `filters` in its convolutions, of which `branches` are in its branch (0: there is none), each
    with its norm and activation before the sum; with `shortcut` `none` in place of `identity` nothing is
    added. The stem is one convolution of `stem_filters`, `stem_size` pixels wide, and not normalised where
    `stem_norm` is false. Logits are of the maximum over the pixels; their weights begin with the deviation
    `logits_std`, or with He's where it is None. Jordan's network of 2024 ("94% on
    CIFAR-10 in 3.29 seconds on a single GPU") has no shortcuts, filters of 64, 256 and 256, one more
    convolution in each stage, and a stem of 24 filters, two pixels wide, whitened as by `init.whitened`.
    Maps float images `(N, H, W, C)` to logits `(N, num_classes)`. All other options are those of `Style`.
    Raises ValueError unless each stage has its filters and its branch, and pictures are large enough.
    """
    style = Style(**options)
    blocks.one_of("shortcut", style.shortcut, "identity", "none")
    if len(filters) != len(branches):
        raise ValueError(f"branches: {len(filters)} stages have filters, and {len(branches)} have a branch")
    if min(input_shape[:2]) < 2 ** len(filters):
        raise ValueError(f"{len(filters)} stages, which each halve the pictures, are too many for them")
    inputs = keras.Input(input_shape, name="images")
    x = style.conv(inputs, stem_filters, stem_size, name="stem_conv", of_images=True)
    x = style.activate(style.normalize(x, "stem") if stem_norm else x, "stem")
    for number, (width, count) in enumerate(zip(filters, branches, strict=True), 1):
        name = names.block(names.stage(number), 1)
        x = style.conv(x, width, 3, name=f"{name}_conv1")
        x = keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x)
        x = y = style.activate(style.normalize(x, name, 1), name, 1)
        for i in range(2, 2 + count):
            y = style.activate(
                style.normalize(style.conv(y, width, 3, name=f"{name}_conv{i}"), name, i), name, i
            )
        if count and style.shortcut == "none":
            x = y
        elif count:
            x = blocks.add(x, y, Spot(name, None, 1, len(filters)))
    x = keras.layers.GlobalMaxPooling2D(name="pool")(x)
    initializer = keras.initializers.RandomNormal(stddev=logits_std) if logits_std else "he_normal"
    return keras.Model(inputs, blocks.logits(x, num_classes, initializer, bias=False), name="resnet9")
