"""VGG (Simonyan and Zisserman 2015, table 1: configurations A, B, D and E).

Parameters with the ImageNet head, no BN, 1,000 classes: 11: 132,863,336; 13: 133,047,848;
16: 138,357,544; 19: 143,667,240. With the CIFAR head, BN and ten classes, trainable: 11: 9,231,114;
13: 9,416,010; 16: 14,728,266; 19: 20,040,522.
"""

from __future__ import annotations

from typing import Any

import keras

from resnet.models import blocks
from resnet.models.blocks import Style
from resnet.options import with_options_of

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)


@with_options_of(
    Style,
    without=(
        "shortcut",
        "residual",
        "alpha",
        "attention",
        "attention_reduction",
        "padding",
        "strided_conv",
    ),
)
def vgg(
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: int = 16,
    head: str = "cifar",
    dropout: float = 0.5,
    **options: Any,
) -> keras.Model:
    """VGG of depth 11, 13, 16 or 19: five stages of 3x3 convolutions, each ended by a max pool.

    `head` is `cifar` (global average pool, one dense layer) or `imagenet` (dense layers of 4,096, 4,096
    and `num_classes`, the first two with `dropout`). The paper has no `norm`; without
    it the deeper ones hardly start to train. Maps float images `(N, H, W, C)` to logits `(N, num_classes)`.
    All other options are those of `Style`. Raises ValueError for another depth or head.
    """
    blocks.one_of("depth", depth, *CONVOLUTIONS)
    blocks.one_of("head", head, "cifar", "imagenet")
    style = Style(**options)
    x = inputs = keras.Input(input_shape, name="images")
    for number, (filters, count) in enumerate(zip(FILTERS, CONVOLUTIONS[depth], strict=True), 1):
        for i in range(1, count + 1):
            name = f"stage{number}_conv{i}"
            x = style.conv(x, filters, 3, name=name)
            x = style.activate(style.normalize(x, name), name)
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"stage{number}_pool")(x)
    if head == "imagenet":
        x = keras.layers.Flatten(name="flatten")(x)
        for i in (1, 2):
            x = keras.layers.Dense(
                4096,
                activation=style.activation,
                kernel_initializer="he_normal",
                kernel_regularizer=style.regularizer,
                name=f"dense{i}",
            )(x)
            x = keras.layers.Dropout(dropout, name=f"dropout{i}")(x)
        outputs = blocks.logits(x, num_classes)
    else:
        outputs = blocks.classifier(x, num_classes)
    return keras.Model(inputs, outputs, name=f"vgg_{depth}")
