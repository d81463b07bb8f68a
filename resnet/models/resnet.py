"""The CIFAR residual networks: v1 of He et al. 2015 and v2 of He et al. 2016.

Parameters with convolution biases and projection shortcuts, ten classes, as Keras counts them:
v1 20: 274,442; v1 110: 1,742,762; v2 110: 3,323,210; v2 164: 4,972,682; v2 1001: 30,539,498.
"""

from functools import partial

import keras

from resnet.models import blocks

STAGES = (16, 32, 64)


def blocks_per_stage(depth, layers_per_stage):
    """n of depth = layers_per_stage * n + 2. Raises ValueError for any other depth."""
    n, rest = divmod(depth - 2, layers_per_stage)
    if rest or n < 1:
        raise ValueError(f"depth is {layers_per_stage}n+2 with n >= 1, not {depth}")
    return n


def check(num_classes, shortcut, stage, recompute):
    if num_classes < 2:
        raise ValueError(f"num_classes is at least 2, not {num_classes}")
    if shortcut not in ("projection", "identity"):
        raise ValueError(f"shortcut is projection or identity, not {shortcut}")
    if stage not in ("looped", "unrolled"):
        raise ValueError(f"stage is looped or unrolled, not {stage}")
    if recompute and stage != "looped":
        raise ValueError("recompute needs looped stages")


def decay(survival, blocks):
    """Chance to survive a step for each block, falling linearly to `survival` (Huang et al. 2016, eq. 4)."""
    return [1 - block / blocks * (1 - survival) for block in range(1, blocks + 1)]


def resnet_v1(
    input_shape,
    num_classes,
    depth=20,
    shortcut="projection",
    conv_bias=True,
    l2=1e-4,
    zero_init=False,
    survival=1.0,
    stage="looped",
    recompute=False,
):
    """ResNet of depth 6n+2: basic blocks in stages of 16, 32 and 64 filters.

    He et al. 2015, section 4.2. Maps float images `(N, H, W, C)` to logits `(N, num_classes)`.
    `survival` is the last block's chance to be used in a training step (stochastic depth), `zero_init`
    starts each block as its shortcut. `stage` and `recompute` (of looped stages) say how equal blocks
    are run, not what they compute. Raises ValueError for a depth that is not 6n+2.
    """
    n = blocks_per_stage(depth, 6)
    check(num_classes, shortcut, stage, recompute)
    conv_options, chances = {"bias": conv_bias, "l2": l2}, decay(survival, 3 * n)
    inputs = keras.Input(input_shape, name="images")
    x = blocks.stem(inputs, STAGES[0], **conv_options)
    for number, filters in enumerate(STAGES, 1):
        block = partial(
            blocks.basic_block, filters=filters, kind=shortcut, zero_init=zero_init, **conv_options
        )
        name, strides = f"stage{number}", 1 if number == 1 else 2
        first, *rest = chances[(number - 1) * n : number * n]
        x = block(x, strides=strides, gate=blocks.gates(x, [first], f"{name}_block1"), name=f"{name}_block1")
        equal = partial(block, strides=1)
        x = blocks.repeat(equal, x, rest, first=2, name=name, form=stage, recompute=recompute)
    return keras.Model(inputs, blocks.classifier(x, num_classes), name=f"resnet_v1_{depth}")


def resnet_v2(
    input_shape,
    num_classes,
    depth=29,
    shortcut="projection",
    conv_bias=True,
    l2=1e-4,
    zero_init=False,
    survival=1.0,
    stage="looped",
    recompute=False,
):
    """Pre-activation ResNet of depth 9n+2: bottlenecks of 16, 64 and 128 filters, 64 to 256 out.

    He et al. 2016, in the widths of the Keras example. Maps float images `(N, H, W, C)` to logits
    `(N, num_classes)`. `survival`, `zero_init`, `stage` and `recompute` are those of `resnet_v1`.
    Raises ValueError for a depth that is not 9n+2.
    """
    n = blocks_per_stage(depth, 9)
    check(num_classes, shortcut, stage, recompute)
    conv_options, chances = {"bias": conv_bias, "l2": l2}, decay(survival, 3 * n)
    inputs = keras.Input(input_shape, name="images")
    x = blocks.stem(inputs, STAGES[0], **conv_options)
    filters = STAGES[0]
    for number, out_filters in enumerate((4 * f for f in STAGES), 1):
        block = partial(
            blocks.preactivation_bottleneck,
            filters=filters,
            out_filters=out_filters,
            kind=shortcut,
            zero_init=zero_init,
            **conv_options,
        )
        name, strides = f"stage{number}", 1 if number == 1 else 2
        first, *rest = chances[(number - 1) * n : number * n]
        gate = blocks.gates(x, [first], f"{name}_block1")
        x = block(x, strides=strides, activated=number == 1, gate=gate, name=f"{name}_block1")
        equal = partial(block, strides=1, activated=False)
        x = blocks.repeat(equal, x, rest, first=2, name=name, form=stage, recompute=recompute)
        filters = out_filters
    x = blocks.relu(blocks.norm(x, "final_bn"), "final_relu")
    return keras.Model(inputs, blocks.classifier(x, num_classes), name=f"resnet_v2_{depth}")
