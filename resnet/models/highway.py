"""Highway networks (Srivastava et al. 2015, table 1): each layer learns how much of its input it carries on.

Trainable parameters for ten classes: 19 layers (there "Highway 2"): 2,274,186; published as about 2.3 M.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from resnet.models import blocks, names
from resnet.models.blocks import Style
from resnet.options import with_options_of

NOT_OURS = (
    "shortcut",
    "strided_conv",
    "residual",
    "alpha",
    "attention",
    "attention_reduction",
    "padding",
)


@with_options_of(Style, without=NOT_OURS, norm="none")
def highway(
    input_shape: tuple[int, int, int],
    num_classes: int,
    filters: Sequence[int] = (32, 48, 80, 128),
    layers: Sequence[int] = (3, 2, 6, 6),
    gate_bias: float = -2.0,
    stage: str = "looped",
    recompute: bool = False,
    **options: Any,
) -> keras.Model:
    """Stages of `layers` 3x3 convolutions of `filters`, a max pool before each but the first two.

    The first convolution of a stage is plain; each other one is a highway layer (equation 3), whose gate has
    biases that begin at `gate_bias`: below 0, it begins by carrying its input on. Maps float images
    `(N, H, W, C)` to logits `(N, num_classes)`. `stage` and `recompute` are those of `blocks.repeat`, all
    others those of `Style`. Raises ValueError unless there are as many `filters` as `layers`.
    """
    style, total, done = Style(**options), sum(layers), 0
    x = inputs = keras.Input(input_shape, name="images")
    for number, (width, count) in enumerate(zip(filters, layers, strict=True), 1):
        name = names.block(names.stage(number), 1)
        if number > 2:
            x = keras.layers.MaxPooling2D(2, padding="same", name=f"{name}_pool")(x)
        x = _convolved(x, width, style, name)
        x = blocks.repeat(
            partial(_layer, style=style, gate_bias=gate_bias),
            x,
            range(done + 1, done + count),
            total,
            survival=1.0,
            first=2,
            name=names.stage(number),
            stage=stage,
            recompute=recompute,
        )
        done += count
    return keras.Model(inputs, blocks.classifier(x, num_classes), name=f"highway_{total + 2}")


def _layer(x, style, gate_bias, *, at):
    """T * H(x) + (1 - T) * x, as x and a branch: T * (H(x) - x)."""
    gate = keras.layers.Conv2D(
        x.shape[-1],
        3,
        padding="same",
        activation="sigmoid",
        kernel_initializer="he_normal",
        bias_initializer=keras.initializers.Constant(gate_bias),
        kernel_regularizer=style.regularizer,
        name=f"{at.name}_gate",
    )(x)
    change = keras.layers.Subtract(name=f"{at.name}_change")([_convolved(x, x.shape[-1], style, at.name), x])
    return blocks.add(x, keras.layers.Multiply(name=f"{at.name}_transform")([change, gate]), at)


def _convolved(x, filters, style, name):
    return style.activate(style.normalize(style.conv(x, filters, 3, name=f"{name}_conv"), name), name)
