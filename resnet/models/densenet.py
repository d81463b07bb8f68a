"""DenseNets (Huang et al. 2017): each block's output is appended to its input.

Trainable parameters for ten classes and growth 12: 40 without bottlenecks and compression: 1,019,722; BC-100:
769,162. For ImageNet, 1,000 classes: 121: 7,978,856; 169: 14,149,480; 201: 20,013,928.
"""

from __future__ import annotations

from typing import Any

import keras

from resnet.models import blocks, names
from resnet.models.blocks import Conv, Style
from resnet.models.imagenet import max_pool
from resnet.models.layers import Dropout
from resnet.options import with_options_of
from resnet.rules import dense_blocks_per_stage

IMAGENET = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
NOT_OURS = ("shortcut", "strided_conv", "residual", "alpha", "attention", "attention_reduction")


@with_options_of(Style, without=(*NOT_OURS, "padding"), conv_bias=False)
def densenet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: int = 100,
    growth: int = 12,
    bottleneck: bool = True,
    compression: float = 0.5,
    dropout: float = 0.0,
    **options: Any,
) -> keras.Model:
    """DenseNet for CIFAR: three stages of blocks that each append `growth` channels.

    With `bottleneck` the depth is 6n+4, and 3n+4 without. Between stages a 1x1 convolution leaves
    `compression` of the channels. `dropout` stands after each convolution but the first (section 4.2). Maps
    float images `(N, H, W, C)` to logits `(N, num_classes)`. All other options are those of `Style`. Raises
    ValueError for another depth.
    """
    n, style = dense_blocks_per_stage(depth, bottleneck), Style(**options)
    inputs = keras.Input(input_shape, name="images")
    x = style.conv(inputs, 2 * growth if bottleneck else 16, 3, name="stem_conv")
    x = _stages(x, (n, n, n), growth, bottleneck, compression, dropout, style)
    name = f"densenet{'_bc' if bottleneck else ''}_{depth}_{growth}"
    return keras.Model(inputs, blocks.classifier(x, num_classes), name=name)


@with_options_of(Style, without=NOT_OURS, conv_bias=False, l2=5e-5, padding="symmetric", bn_epsilon=1e-5)
def densenet_imagenet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: int = 121,
    growth: int = 32,
    compression: float = 0.5,
    dropout: float = 0.0,
    **options: Any,
) -> keras.Model:
    """DenseNet-BC for ImageNet of depth 121, 169 or 201 (table 1), with the options of `densenet`."""
    blocks.one_of("depth", depth, *IMAGENET)
    style = Style(**options)
    inputs = keras.Input(input_shape, name="images")
    x = style.conv(inputs, 2 * growth, 7, 2, name="stem_conv")
    x = max_pool(style.activate(style.normalize(x, "stem"), "stem"))
    x = _stages(x, IMAGENET[depth], growth, True, compression, dropout, style)
    return keras.Model(inputs, blocks.classifier(x, num_classes), name=f"densenet_imagenet_{depth}")


def _stages(x, counts, growth, bottleneck, compression, dropout, style):
    branch = [Conv(4 * growth, 1), Conv(growth, 3)] if bottleneck else [Conv(growth, 3)]
    for number, count in enumerate(counts, 1):
        for i in range(1, count + 1):
            x = _block(x, branch, dropout, style, names.block(names.stage(number), i))
        if number < len(counts):
            filters = int(x.shape[-1] * compression)
            x = _convolved(x, Conv(filters, 1), dropout, style, f"transition{number}")
            x = keras.layers.AveragePooling2D(2, padding="same", name=f"transition{number}_pool")(x)
    return style.activate(style.normalize(x, "final"), "final")


def _block(x, branch, dropout, style, name):
    y = x
    for i, conv in enumerate(branch, 1):
        y = _convolved(y, conv, dropout, style, name, i)
    return keras.layers.Concatenate(name=f"{name}_concat")([x, y])


def _convolved(x, conv, dropout, style, name, number=""):
    """A convolution after its normalisation and activation (section 3)."""
    x = style.activate(style.normalize(x, name, number), name, number)
    x = style.conv(x, *conv, name=f"{name}_conv{number}")
    return Dropout(dropout, name=f"{name}_dropout{number}")(x) if dropout else x
