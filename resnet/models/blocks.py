"""The pieces that every network here is built from, in Keras' functional style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras

from resnet.models import names
from resnet.models.attention import CBAM, SqueezeExcitation
from resnet.models.layers import (
    Dropout,
    FusedBatchNormalization,
    IdentityShortcut,
    ReLU,
    Repeat,
    Scale,
    SurvivalGates,
)
from resnet.rules import one_zero, recompute_in_loops

NORMS = {"batch": "bn", "group": "gn", "layer": "ln", "none": ""}  # and what their layers are called
ACTIVATIONS = ("relu", "gelu", "silu")
ATTENTIONS = {"se": SqueezeExcitation, "cbam": CBAM}


@dataclass(frozen=True)
class Style:
    """What all convolutions, normalisations and shortcuts of a network share.

    Args:
        shortcut: where a block changes the number of channels, `identity` pads with zeros (option A of
            He et al. 2015, section 3.3), `projection` is a bare 1x1 convolution, `projection_bn` a
            normalised one: in v1 by a BN of its own, in v2 by the block's first BN and ReLU. `pooled` is
            that with strides by an average pool before it (ResNet-D, He T. et al. 2019, section 4.2).
            `none`: a plain network.
        conv_bias: convolutions have biases.
        l2: this much of the sum of squares of every convolution kernel is added to the loss. Its
            gradient is `2 * l2 * kernel`: a paper's weight decay is twice `l2`.
        norm: `batch`, `group` (32 groups of channels, or the most below that divide both; Wu and He 2018),
            `layer` (over the channels of each pixel, as in ConvNeXt, Liu et al. 2022) or `none`.
        activation: `relu`, `gelu` (Hendrycks and Gimpel 2016) or `silu` (Elfwing et al. 2018).
        zero_init: blocks start as their shortcuts: the last scale of a v1 block is 0 (Goyal et al.
            2017, section 5.1), and the last convolution of a v2 block (Zhang et al. 2019, section 3), as
            of any block without norms.
        rezero: blocks start as their shortcuts by a learned factor of the branch, which is 0 (ReZero,
            Bachlechner et al. 2020; without norms SkipInit, De and Smith 2020).
        attention: at the end of each branch: `none`, `se` (Hu et al. 2018) or `cbam` (Woo et al. 2018).
        attention_reduction: channels of a block for each hidden unit of its attention.
        padding: of convolutions with strides, `same` as in TensorFlow (the far edge first) or
            `symmetric` as in Caffe and PyTorch.
        strided_conv: which convolution of a bottleneck strides, `1x1` (He et al. 2015) or `3x3`.
        bn_momentum: of batch normalisation.
        bn_epsilon: of any normalisation.

    Raises ValueError for another word.
    """

    shortcut: str = "projection"
    conv_bias: bool = True
    l2: float = 1e-4
    norm: str = "batch"
    activation: str = "relu"
    zero_init: bool = False
    rezero: bool = False
    attention: str = "none"
    attention_reduction: int = 16
    padding: str = "same"
    strided_conv: str = "1x1"
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3

    def __post_init__(self):
        one_of("shortcut", self.shortcut, "projection", "projection_bn", "pooled", "identity", "none")
        one_of("norm", self.norm, *NORMS)
        one_of("activation", self.activation, *ACTIVATIONS)
        one_of("attention", self.attention, "none", *ATTENTIONS)
        one_of("padding", self.padding, "same", "symmetric")
        one_of("strided_conv", self.strided_conv, "1x1", "3x3")
        if (self.zero_init or self.rezero) and self.shortcut == "none":
            raise ValueError("zero_init and rezero need shortcuts: without them they would cut the network")
        one_zero(self.zero_init, self.rezero)

    def conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        size: int,
        strides: int = 1,
        groups: int = 1,
        *,
        name: str,
        initializer: str = "he_normal",
    ) -> keras.KerasTensor:
        """Convolution with He-normal weights (He et al. 2015b)."""
        explicit = self.padding == "symmetric" and strides > 1 and size > 1
        if explicit:
            x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        return keras.layers.Conv2D(
            filters,
            size,
            strides=strides,
            groups=groups,
            padding="valid" if explicit else "same",
            use_bias=self.conv_bias,
            kernel_initializer=initializer,
            kernel_regularizer=self.regularizer,
            name=name,
        )(x)

    def normalize(
        self, x: keras.KerasTensor, name: str, number: int | str = "", scale: str = "ones"
    ) -> keras.KerasTensor:
        """x normalised by a layer of that name, which says its kind, and number."""
        if self.norm == "none":
            return x
        name = f"{name}_{NORMS[self.norm]}{number}"
        options = {"epsilon": self.bn_epsilon, "gamma_initializer": scale, "name": name}
        if self.norm == "batch":
            return FusedBatchNormalization(momentum=self.bn_momentum, **options)(x)
        if self.norm == "group":
            return keras.layers.GroupNormalization(math.gcd(32, x.shape[-1]), **options)(x)
        return keras.layers.LayerNormalization(**options)(x)

    def activate(self, x: keras.KerasTensor, name: str, number: int | str = "") -> keras.KerasTensor:
        name = f"{name}_{self.activation}{number}"
        if self.activation == "relu":
            return ReLU(name=name)(x)
        return keras.layers.Activation(self.activation, name=name)(x)

    def end_branch(self, y: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """What stands between the last convolution of a branch and the addition."""
        if self.attention != "none":
            attend = ATTENTIONS[self.attention]
            y = attend(self.attention_reduction, name=f"{name}_{self.attention}")(y)
        return Scale(name=f"{name}_rezero")(y) if self.rezero else y

    @property
    def normalizes_shortcuts(self) -> bool:
        return self.shortcut in ("projection_bn", "pooled")

    @property
    def regularizer(self) -> keras.regularizers.Regularizer | None:
        return keras.regularizers.L2(self.l2) if self.l2 else None


def one_of(name: str, value: object, *allowed: Any) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {' or '.join(map(str, allowed))}, not {value}")


class Conv(NamedTuple):
    """One convolution of a block's branch."""

    filters: int
    size: int
    strides: int = 1
    groups: int = 1


def basic(filters: int, strides: int) -> tuple[Conv, ...]:
    """The branch of two 3x3 convolutions (He et al. 2015, figure 5 left)."""
    return Conv(filters, 3, strides), Conv(filters, 3)


def bottleneck(
    filters: int, out_filters: int, style: Style, strides: int, groups: int = 1
) -> tuple[Conv, ...]:
    """The branch of 1x1, 3x3 and 1x1 convolutions (He et al. 2015, figure 5 right).

    The middle one in `groups` is ResNeXt's (Xie et al. 2017, figure 3c).
    """
    outer, inner = (strides, 1) if style.strided_conv == "1x1" else (1, strides)
    return Conv(filters, 1, outer), Conv(filters, 3, inner, groups), Conv(out_filters, 1)


def postactivation_block(
    x: keras.KerasTensor, branch: tuple[Conv, ...], style: Style, *, gate: keras.KerasTensor | None, name: str
) -> keras.KerasTensor:
    """v1: BN after each convolution, the last ReLU after the addition (He et al. 2015, figure 2)."""
    y = x
    for i, conv in enumerate(branch, 1):
        last = i == len(branch)
        zero = last and style.zero_init
        initializer = "zeros" if zero and style.norm == "none" else "he_normal"
        y = style.conv(y, *conv, initializer=initializer, name=f"{name}_conv{i}")
        y = style.normalize(y, name, i, scale="zeros" if zero else "ones")
        y = y if last else style.activate(y, name, i)
    y = style.end_branch(y, name)
    if style.shortcut != "none":
        projected = x.shape[-1] != y.shape[-1]
        x = shortcut(x, branch, style, name)
        if projected and style.normalizes_shortcuts:
            x = style.normalize(x, f"{name}_shortcut")
        y = add(x, y, gate, name)
    return style.activate(y, name, len(branch))


def preactivation_block(
    x: keras.KerasTensor,
    branch: tuple[Conv, ...],
    style: Style,
    *,
    gate: keras.KerasTensor | None,
    name: str,
    activated: bool = False,
    dropout: float = 0.0,
) -> keras.KerasTensor:
    """v2: each convolution after its BN and ReLU (He et al. 2016, figure 4e).

    `activated` says that x has just been normalised and rectified, so the first pair is left out.
    `dropout` stands before the last convolution (Zagoruyko and Komodakis 2016, section 2.4).
    """
    y = x if activated else style.activate(style.normalize(x, name, 1), name, 1)
    if style.normalizes_shortcuts and x.shape[-1] != branch[-1].filters:
        x = y
    for i, conv in enumerate(branch, 1):
        if i > 1:
            y = style.activate(style.normalize(y, name, i), name, i)
        last = i == len(branch)
        if last and dropout:
            y = Dropout(dropout, name=f"{name}_dropout")(y)
        initializer = "zeros" if last and style.zero_init else "he_normal"
        y = style.conv(y, *conv, initializer=initializer, name=f"{name}_conv{i}")
    return add(shortcut(x, branch, style, name), style.end_branch(y, name), gate, name)


def shortcut(x: keras.KerasTensor, branch: tuple[Conv, ...], style: Style, name: str) -> keras.KerasTensor:
    """Bring the block's input to the shape of its branch's output."""
    filters, strides = branch[-1].filters, max(conv.strides for conv in branch)
    same = x.shape[-1] == filters
    if same and strides == 1:
        return x
    if same or style.shortcut == "identity":
        return IdentityShortcut(filters, strides, name=f"{name}_shortcut")(x)
    if style.shortcut == "pooled" and strides > 1:
        x = keras.layers.AveragePooling2D(strides, padding="same", name=f"{name}_shortcut_pool")(x)
        strides = 1
    return style.conv(x, filters, 1, strides, name=f"{name}_shortcut")


def add(
    x: keras.KerasTensor, y: keras.KerasTensor, gate: keras.KerasTensor | None, name: str
) -> keras.KerasTensor:
    if gate is not None:
        y = keras.layers.Multiply(name=f"{name}_gated")([y, gate])
    return keras.layers.Add(name=f"{name}_add")([x, y])


class Stage(NamedTuple):
    """Blocks of equal filters: `blocks` blocks of `branch(strides=...)`; one of them has `strides`."""

    branch: partial
    blocks: int
    strides: int


def stages(
    x: keras.KerasTensor,
    block: Callable[..., keras.KerasTensor],
    wanted: Sequence[Stage],
    *,
    first_block: Callable[..., keras.KerasTensor] | None = None,
    strided_block: str = "first",
    survival: float = 1.0,
    stage: str,
    recompute: bool,
) -> keras.KerasTensor:
    """The stages of a network, the blocks that keep their input's shape each time as one `repeat`.

    Args:
        block: maps x and a branch, with a gate and a name, to the block's output.
        wanted: a Stage for each.
        first_block: used in place of `block` for the network's first.
        strided_block: the `first` or the `last` block of a stage has its strides.
        survival: of the last block in a training step, see `survivals`.
        stage: `looped` or `unrolled`; says how equal blocks are run, not what they compute.
        recompute: keep less of the forward pass, in looped stages.

    Raises ValueError for another word.
    """
    one_of("strided_block", strided_block, "first", "last")
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
                survivals(survival, range(done, done + stop - start), total),
                first=start + 1,
                name=names.stage(number),
                stage=stage,
                recompute=recompute,
            )
            done += stop - start
    return x


def survivals(last: float, numbers: range, total: int) -> list[float]:
    """Of blocks of these numbers, from 0: falling linearly to the `last` (Huang et al. 2016, eq. 4)."""
    return [1 - (number + 1) / total * (1 - last) for number in numbers]


def repeat(
    block: Callable[..., keras.KerasTensor],
    x: keras.KerasTensor,
    survival: list[float],
    *,
    first: int,
    name: str,
    stage: str,
    recompute: bool,
) -> keras.KerasTensor:
    """Equal blocks: one `Repeat` (looped) or a Keras layer for each operation (unrolled).

    `block` maps x, a gate and a name to the output; `survival` has one probability per block, and `first`
    is the number of the first. Several blocks must keep the shape of x. `stage` is `looped` or `unrolled`;
    `recompute` keeps less of the forward pass of a loop. Raises ValueError for another word.
    """
    one_of("stage", stage, "looped", "unrolled")
    recompute_in_loops(recompute, stage)
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


def gates(x: keras.KerasTensor, survival: list[float], name: str) -> keras.KerasTensor | None:
    """Gates for blocks that survive a step with these probabilities, or None where all always do."""
    return SurvivalGates(survival, name=f"{name}_survival")(x) if min(survival) < 1 else None


def classifier(x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
    """Global average pooling and a dense layer: float32 logits `(N, num_classes)`."""
    return logits(keras.layers.GlobalAveragePooling2D(name="pool")(x), num_classes)


def logits(x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
    if num_classes < 2:
        raise ValueError(f"num_classes is at least 2, not {num_classes}")
    return keras.layers.Dense(num_classes, kernel_initializer="he_normal", dtype="float32", name="logits")(x)
