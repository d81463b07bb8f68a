"""The pieces that every network here is built from, in Keras' functional style."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import keras

from resnet.models import names
from resnet.models.layers import FusedBatchNormalization, IdentityShortcut, ReLU, Repeat, SurvivalGates
from resnet.rules import recompute_in_loops


@dataclass(frozen=True)
class Style:
    """What all convolutions, normalisations and shortcuts of a network share.

    Args:
        shortcut: where a block changes the number of channels, `identity` pads with zeros (option A of
            He et al. 2015, section 3.3), `projection` is a bare 1x1 convolution, `projection_bn` a
            normalised one: in v1 by a BN of its own, in v2 by the block's first BN and ReLU. `none`: a
            plain network.
        conv_bias: convolutions have biases.
        l2: this much of the sum of squares of every convolution kernel is added to the loss. Its
            gradient is `2 * l2 * kernel`: a paper's weight decay is twice `l2`.
        zero_init: blocks start as their shortcuts: the last scale of a v1 block is 0 (Goyal et al.
            2017, section 5.1), and the last convolution of a v2 block (Zhang et al. 2019, section 3).
        padding: of convolutions with strides, `same` as in TensorFlow (the far edge first) or
            `symmetric` as in Caffe and PyTorch.
        strided_conv: which convolution of a bottleneck strides, `1x1` (He et al. 2015) or `3x3`.
        bn_momentum, bn_epsilon: of batch normalisation.

    Raises ValueError for another word.
    """

    shortcut: str = "projection"
    conv_bias: bool = True
    l2: float = 1e-4
    zero_init: bool = False
    padding: str = "same"
    strided_conv: str = "1x1"
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3

    def __post_init__(self):
        one_of("shortcut", self.shortcut, "projection", "projection_bn", "identity", "none")
        one_of("padding", self.padding, "same", "symmetric")
        one_of("strided_conv", self.strided_conv, "1x1", "3x3")
        if self.zero_init and self.shortcut == "none":
            raise ValueError("zero_init needs shortcuts: without them it would cut the network")

    def conv(self, x, filters, size, strides=1, *, name, initializer="he_normal"):
        """Convolution with He-normal weights (He et al. 2015b)."""
        explicit = self.padding == "symmetric" and strides > 1 and size > 1
        if explicit:
            x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        return keras.layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="valid" if explicit else "same",
            use_bias=self.conv_bias,
            kernel_initializer=initializer,
            kernel_regularizer=self.regularizer,
            name=name,
        )(x)

    def norm(self, x, name, scale="ones"):
        return FusedBatchNormalization(
            momentum=self.bn_momentum, epsilon=self.bn_epsilon, gamma_initializer=scale, name=name
        )(x)

    @property
    def regularizer(self):
        return keras.regularizers.L2(self.l2) if self.l2 else None


def one_of(name, value, *allowed):
    if value not in allowed:
        raise ValueError(f"{name} is {' or '.join(map(str, allowed))}, not {value}")


def relu(x, name):
    return ReLU(name=name)(x)


class Conv(NamedTuple):
    """One convolution of a block's branch."""

    filters: int
    size: int
    strides: int = 1


def basic(filters, strides):
    """The branch of two 3x3 convolutions (He et al. 2015, figure 5 left)."""
    return Conv(filters, 3, strides), Conv(filters, 3)


def bottleneck(filters, out_filters, style, strides):
    """The branch of 1x1, 3x3 and 1x1 convolutions (He et al. 2015, figure 5 right)."""
    outer, inner = (strides, 1) if style.strided_conv == "1x1" else (1, strides)
    return Conv(filters, 1, outer), Conv(filters, 3, inner), Conv(out_filters, 1)


def postactivation_block(x, branch, style, *, gate, name):
    """v1: BN after each convolution, the last ReLU after the addition (He et al. 2015, figure 2)."""
    y = x
    for i, conv in enumerate(branch, 1):
        last = i == len(branch)
        y = style.conv(y, *conv, name=f"{name}_conv{i}")
        y = style.norm(y, f"{name}_bn{i}", scale="zeros" if last and style.zero_init else "ones")
        y = y if last else relu(y, f"{name}_relu{i}")
    if style.shortcut != "none":
        projected = x.shape[-1] != y.shape[-1]
        x = shortcut(x, branch, style, name)
        if projected and style.shortcut == "projection_bn":
            x = style.norm(x, f"{name}_shortcut_bn")
        y = add(x, y, gate, name)
    return relu(y, f"{name}_relu{len(branch)}")


def preactivation_block(x, branch, style, *, gate, name, activated=False):
    """v2: each convolution after its BN and ReLU (He et al. 2016, figure 4e).

    `activated` says that x has just been normalised and rectified, so the first pair is left out.
    """
    y = x if activated else relu(style.norm(x, f"{name}_bn1"), f"{name}_relu1")
    if style.shortcut == "projection_bn" and x.shape[-1] != branch[-1].filters:
        x = y
    for i, conv in enumerate(branch, 1):
        if i > 1:
            y = relu(style.norm(y, f"{name}_bn{i}"), f"{name}_relu{i}")
        last = i == len(branch)
        initializer = "zeros" if last and style.zero_init else "he_normal"
        y = style.conv(y, *conv, initializer=initializer, name=f"{name}_conv{i}")
    return add(shortcut(x, branch, style, name), y, gate, name)


def shortcut(x, branch, style, name):
    """Bring the block's input to the shape of its branch's output."""
    filters, strides = branch[-1].filters, max(conv.strides for conv in branch)
    same = x.shape[-1] == filters
    if same and strides == 1:
        return x
    if same or style.shortcut == "identity":
        return IdentityShortcut(filters, strides, name=f"{name}_shortcut")(x)
    return style.conv(x, filters, 1, strides, name=f"{name}_shortcut")


def add(x, y, gate, name):
    if gate is not None:
        y = keras.layers.Multiply(name=f"{name}_gated")([y, gate])
    return keras.layers.Add(name=f"{name}_add")([x, y])


class Stage(NamedTuple):
    """Blocks of equal filters: `blocks` blocks of `branch(strides=...)`; one of them has `strides`."""

    branch: partial
    blocks: int
    strides: int


def stages(x, block, wanted, *, first_block=None, strided_block="first", survival=1.0, stage, recompute):
    """The stages of a network, the blocks that keep their input's shape each time as one `repeat`.

    Args:
        block: maps x and a branch, with a gate and a name, to the block's output.
        wanted: a Stage for each.
        first_block: used in place of `block` for the network's first.
        strided_block: the `first` or the `last` block of a stage has its strides.
        survival: of the last block in a training step; it falls linearly (Huang et al. 2016, eq. 4).
        stage: `looped` or `unrolled`; says how equal blocks are run, not what they compute.
        recompute: keep less of the forward pass, in looped stages.

    Raises ValueError for another word.
    """
    one_of("strided_block", strided_block, "first", "last")
    one_of("stage", stage, "looped", "unrolled")
    recompute_in_loops(recompute, stage)
    total, done = sum(stage.blocks for stage in wanted), 0
    for number, (branch, count, strides) in enumerate(wanted, 1):
        first, last = (strides, 1) if strided_block == "first" else (1, strides)
        opens = 1 if first > 1 or x.shape[-1] != branch(strides=1)[-1].filters else 0
        closes = 1 if last > 1 else 0
        spans = (0, opens, first), (opens, count - closes, 1), (count - closes, count, last)
        for start, stop, stride in spans:
            build = first_block if first_block and done == 0 else block
            x = repeat(
                partial(build, branch=branch(strides=stride)),
                x,
                [1 - (done + i) / total * (1 - survival) for i in range(1, stop - start + 1)],
                first=start + 1,
                name=names.stage(number),
                stage=stage,
                recompute=recompute,
            )
            done += stop - start
    return x


def repeat(block, x, survival, *, first, name, stage, recompute):
    """Equal blocks: one `Repeat` (looped) or a Keras layer for each operation (unrolled).

    `block` maps x, a gate and a name to the output; `survival` has one probability a block, and `first`
    is the number of the first. Several blocks must keep the shape of x.
    """
    if stage == "unrolled" or len(survival) <= 1:
        for i, chance in enumerate(survival, first):
            block_name = names.block(name, i)
            x = block(x, gate=gates(x, [chance], block_name), name=block_name)
        return x
    name_of_all = names.blocks(name, range(first, first + len(survival)))
    inputs = [keras.Input(x.shape[1:], dtype=x.dtype)]
    outer = gates(x, survival, name_of_all)
    if outer is not None:
        inputs.append(keras.Input(batch_shape=(1, 1, 1, 1), dtype=outer.dtype))
    gate = inputs[1] if outer is not None else None
    template = keras.Model(inputs, block(inputs[0], gate=gate, name=names.ANY_BLOCK), name=f"{name}_block")
    return Repeat(template, len(survival), first, recompute, name=name_of_all)(x, gates=outer)


def gates(x, survival, name):
    """Gates for blocks that survive a step with these probabilities, or None where all always do."""
    return SurvivalGates(survival, name=f"{name}_survival")(x) if min(survival) < 1 else None


def classifier(x, num_classes):
    """Global average pooling and a dense layer: float32 logits `(N, num_classes)`."""
    return logits(keras.layers.GlobalAveragePooling2D(name="pool")(x), num_classes)


def logits(x, num_classes):
    if num_classes < 2:
        raise ValueError(f"num_classes is at least 2, not {num_classes}")
    return keras.layers.Dense(num_classes, kernel_initializer="he_normal", dtype="float32", name="logits")(x)
