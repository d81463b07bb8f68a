"""The ImageNet networks of He et al. 2015, table 1, and their pre-activation form.

Trainable parameters for 1,000 classes without convolution biases: 18: 11,689,512; 34: 21,797,672;
50: 25,557,032; 101: 44,549,160; 152: 60,192,808; 200: 64,673,832. 18 with the CIFAR stem and ten
classes: 11,173,962, in version 2 11,172,170, and 34 so 21,280,330. Plain 34: 21,623,848, as 34 with identity
shortcuts.
50 as ResNeXt 32x4d: 25,028,904; as ResNet-D: 25,576,264; with `se`: 28,088,024; with `cbam`: 28,089,592; as
ResNet-RS (`deep_strided`, `pooled`, `se` of reduction 4): 35,691,912. By FixUp: 25,504,030; as NF-ResNet
with convolution biases: 25,557,048, a factor for each of 16 blocks more than with batch norm.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from resnet.models import blocks
from resnet.models.blocks import Conv, Stage, Style
from resnet.models.resnet import RESIDUAL
from resnet.options import with_options_of

BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
FILTERS = (64, 128, 256, 512)
DEEP = Conv(32, 3, 2), Conv(32, 3), Conv(64, 3)
STEMS = {  # convolutions, and whether a max pool follows
    "imagenet": ([Conv(64, 7, 2)], True),
    "cifar": ([Conv(64, 3)], False),
    "deep": (DEEP, True),
    "deep_strided": ([*DEEP, Conv(64, 3, 2)], False),
}


@with_options_of(
    Style,
    shortcut="projection_bn",
    conv_bias=False,
    l2=5e-5,
    padding="symmetric",
    strided_conv="3x3",
    bn_epsilon=1e-5,
)
def resnet_imagenet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: int = 50,
    version: int = 1,
    stem: str = "imagenet",
    cardinality: int = 1,
    group_width: int = 64,
    strided_block: str = "first",
    survival: float = 1.0,
    stage: str = "looped",
    recompute: bool = False,
    **options: Any,
) -> keras.Model:
    """ResNet of depth 18 or 34 (basic blocks), 50, 101, 152 or 200 (bottlenecks).

    `version` 1 is He et al. 2015, 2 the pre-activation form of He et al. 2016. `stem` is `imagenet` (7x7
    with stride 2, and a max pool), `cifar` (3x3), `deep` (three of 3x3 for the 7x7: ResNet-D, He T. et al.
    2019, section 4.2) or `deep_strided` (a fourth for the max pool: ResNet-RS, Bello et al. 2021). Each
    bottleneck's middle convolution has `cardinality` groups, of `group_width` channels in the first stage
    (ResNeXt, Xie et al. 2017: 32 of 4). keras.applications' v1 has the strides in the
    1x1 convolutions, its v2 in the last block of a stage. Maps float images `(N, H, W, C)` to logits
    `(N, num_classes)`. `strided_block`, `survival`, `stage` and `recompute` are those of
    `blocks.stages`, all others those of `Style`, with
    defaults of their own. Raises ValueError for another depth.
    """
    blocks.one_of("depth", depth, *BASIC, *BOTTLENECK)
    blocks.one_of("version", version, 1, 2)
    blocks.one_of("stem", stem, *STEMS)
    style = Style(**options)
    if depth in BASIC:
        if (cardinality, group_width) != (1, 64):
            raise ValueError(
                f"cardinality and group_width are of bottlenecks, which depth={depth} has none of"
            )
        counts, branches = BASIC[depth], [partial(blocks.basic, f) for f in FILTERS]
    else:
        inner = [f * cardinality * group_width // 64 for f in FILTERS]
        counts, branches = (
            BOTTLENECK[depth],
            [
                partial(blocks.bottleneck, i, 4 * f, style, groups=cardinality)
                for i, f in zip(inner, FILTERS, strict=True)
            ],
        )
    strides = (1, 2, 2, 2) if strided_block == "first" else (2, 2, 2, 1)
    block = blocks.postactivation_block if version == 1 else blocks.preactivation_block
    inputs = keras.Input(input_shape, name="images")
    x = blocks.stages(
        _stem(inputs, stem, version, style),
        partial(block, style=style),
        [Stage(*stage) for stage in zip(branches, counts, strides, strict=True)],
        strided_block=strided_block,
        survival=survival,
        stage=stage,
        recompute=recompute,
    )
    if version == 2:
        x = style.activate(style.normalize(x, "final"), "final")
    name = "plain" if style.shortcut == "none" else f"resnet_v{version}"
    return keras.Model(inputs, blocks.classifier(x, num_classes, style), name=f"{name}_imagenet_{depth}")


@with_options_of(
    resnet_imagenet,
    without=(*RESIDUAL, "version", "strided_block", "strided_conv", "cardinality", "group_width", "alpha"),
)
def plain_imagenet(
    input_shape: tuple[int, int, int], num_classes: int, depth: int = 34, **options: Any
) -> keras.Model:
    """`resnet_imagenet` of basic blocks without shortcuts (He et al. 2015, figure 3), 18 or 34 deep."""
    blocks.one_of("depth", depth, *BASIC)
    return resnet_imagenet(input_shape, num_classes, depth, shortcut="none", **options)


def _stem(x, kind, version, style):
    """In v2 the first block normalises and activates what the last convolution gives."""
    convolutions, pooled = STEMS[kind]
    for i, conv in enumerate(convolutions, 1):
        number = i if len(convolutions) > 1 else ""
        x = style.conv(x, *conv, name=f"stem_conv{number}", of_images=i == 1)
        if version == 1 or i < len(convolutions):
            x = style.activate(style.normalize(x, "stem", number), "stem", number)
    return max_pool(x) if pooled else x


def max_pool(x: keras.KerasTensor) -> keras.KerasTensor:
    """Of 3x3 with stride 2, at the end of a stem."""
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
