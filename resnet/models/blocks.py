"""The pieces that every network here is built from, in Keras' functional style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras

from resnet.models import names
from resnet.models.activations import Activation, ReLU
from resnet.models.attention import CBAM, SqueezeExcitation
from resnet.models.batch_norm import FusedBatchNormalization
from resnet.models.convolution import Conv2D
from resnet.models.layers import Dropout, IdentityShortcut, Scale, Shift, SurvivalGates
from resnet.models.normalizer_free import GAINS, ExpectedDeviation, StandardizedConv2D
from resnet.models.repeat import Repeat
from resnet.rules import recompute_in_loops, residual_needs_no_norm, residual_of_activated_shortcuts

NORMS = {"batch": "bn", "group": "gn", "layer": "ln", "none": ""}  # and what their layers are called
ACTIVATIONS = ("relu", "gelu", "silu")
ATTENTIONS = {"se": SqueezeExcitation, "cbam": CBAM}
RESIDUALS = ("standard", "zero_init", "rezero", "fixup", "normalizer_free")


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
        residual: how branches begin and join their shortcuts. All but `standard` start as the shortcuts.
            `zero_init`: the last scale of a v1 block is 0 (Goyal et al. 2017, section 5.1), and the last
            convolution of a v2 block (Zhang et al. 2019, section 3), as of any block without norms.
            `rezero`: a learned factor of the branch is 0 (ReZero, Bachlechner et al. 2020; without norms
            SkipInit, De and Smith 2020). Without norms are `fixup` (Zhang et al. 2019, section 3: smaller
            weights, learned scalars before each layer, a head of zeros) and, of v2 blocks whose
            projections are `projection_bn` or `pooled`, `normalizer_free` (NF-ResNet, Brock et al. 2021).
        alpha: the factor of a normaliser-free branch.
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
    residual: str = "standard"
    alpha: float = 0.2
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
        one_of("residual", self.residual, *RESIDUALS)
        if self.residual != "standard" and self.shortcut == "none":
            raise ValueError(
                f"residual={self.residual} needs shortcuts: without them it would cut the network"
            )
        residual_needs_no_norm(self.residual, self.norm)
        residual_of_activated_shortcuts(self.residual, self.shortcut)

    def conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        size: int,
        strides: int = 1,
        groups: int = 1,
        *,
        name: str,
        initializer: str | keras.Initializer = "he_normal",
        of_images: bool = False,
    ) -> keras.KerasTensor:
        """Convolution with He-normal weights (He et al. 2015b); `of_images` is a network's first.

        Of an even size, which has no middle, and without strides it is `valid`: nothing is padded.
        """
        if self.residual == "fixup" and not of_images:
            x = Shift(name=f"{name}_shift")(x)
        layer: Callable = Conv2D
        if self.is_normalizer_free:
            gain = 1.0 if of_images else GAINS[self.activation]
            layer = partial(StandardizedConv2D, gain_of_activation=gain)
        off_centre = size % 2 == 0 and strides == 1
        explicit = self.padding == "symmetric" and strides > 1 and size > 1
        if explicit:
            x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        return layer(
            filters,
            size,
            strides=strides,
            groups=groups,
            padding="valid" if explicit or off_centre else "same",
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
        if self.residual == "fixup":
            x = Shift(name=f"{name}_shift")(x)
        if self.activation == "relu":
            return ReLU(name=name)(x)
        return Activation(self.activation, name=name)(x)

    def end_branch(self, y: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """What stands between the last convolution of a branch and the addition."""
        if self.attention != "none":
            attend = ATTENTIONS[self.attention]
            y = attend(self.attention_reduction, name=f"{name}_{self.attention}")(y)
        if self.residual in ("rezero", "normalizer_free"):
            y = Scale(name=f"{name}_rezero")(y)
        if self.residual == "fixup":
            y = Scale(start=1.0, name=f"{name}_scale")(y)
        return keras.layers.Rescaling(self.alpha, name=f"{name}_alpha")(y) if self.is_normalizer_free else y

    def branch_initializer(
        self, branch: tuple[Conv, ...], *, last: bool, total: int, zero: bool
    ) -> str | keras.Initializer:
        """Of a convolution of a branch; `zero` says whether the last one of `zero_init` is 0."""
        if last and (self.residual == "fixup" or zero and self.residual == "zero_init"):
            return "zeros"
        if self.residual == "fixup":
            # Weights times L^(-1/(2m-2)), so their variance times the square (Zhang et al. 2019, section 3).
            scale = 2 * total ** (-1 / (len(branch) - 1))
            return keras.initializers.VarianceScaling(scale, "fan_in", "truncated_normal")
        return "he_normal"

    @property
    def normalizes_shortcuts(self) -> bool:
        return self.shortcut in ("projection_bn", "pooled")

    @property
    def is_normalizer_free(self) -> bool:
        return self.residual == "normalizer_free"

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


class Spot(NamedTuple):
    """Where a block stands in its network.

    `name` begins the names of its layers, `gate` is its output of `SurvivalGates` or None, `summed` is how
    many branches its input is the sum of, since the last projection (in a loop: the first block's), and
    `total` how many blocks the network has.
    """

    name: str
    gate: keras.KerasTensor | None
    summed: int
    total: int


def postactivation_block(
    x: keras.KerasTensor, branch: tuple[Conv, ...], style: Style, *, at: Spot
) -> keras.KerasTensor:
    """v1: BN after each convolution, the last ReLU after the addition (He et al. 2015, figure 2)."""
    if style.is_normalizer_free:
        raise ValueError("residual=normalizer_free needs pre-activation, as in resnet_v2 and in version=2")
    y, zero_init = x, style.residual == "zero_init"
    for i, conv in enumerate(branch, 1):
        last = i == len(branch)
        start = style.branch_initializer(branch, last=last, total=at.total, zero=style.norm == "none")
        y = style.conv(y, *conv, initializer=start, name=f"{at.name}_conv{i}")
        y = style.normalize(y, at.name, i, scale="zeros" if last and zero_init else "ones")
        y = y if last else style.activate(y, at.name, i)
    y = style.end_branch(y, at.name)
    if style.shortcut != "none":
        projected = x.shape[-1] != y.shape[-1]
        x = shortcut(x, branch, style, at.name)
        if projected and style.normalizes_shortcuts:
            x = style.normalize(x, f"{at.name}_shortcut")
        y = add(x, y, at)
    return style.activate(y, at.name, len(branch))


def preactivation_block(
    x: keras.KerasTensor,
    branch: tuple[Conv, ...],
    style: Style,
    *,
    at: Spot,
    activated: bool = False,
    dropout: float = 0.0,
) -> keras.KerasTensor:
    """v2: each convolution after its BN and ReLU (He et al. 2016, figure 4e).

    `activated` says that x has just been normalised and rectified, so the first pair is left out.
    `dropout` stands before the last convolution (Zagoruyko and Komodakis 2016, section 2.4).
    """
    first, y = preactivated(x, branch, style, at=at, activated=activated, dropout=dropout)
    if style.normalizes_shortcuts and x.shape[-1] != branch[-1].filters:
        x = first
    return add(shortcut(x, branch, style, at.name), style.end_branch(y, at.name), at)


def preactivated(
    x: keras.KerasTensor,
    branch: tuple[Conv, ...],
    style: Style,
    *,
    at: Spot,
    activated: bool = False,
    dropout: float = 0.0,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """What the first convolution of a `preactivation_block` sees, and what the last one gives."""
    y, name = x, at.name
    if style.is_normalizer_free:
        y = ExpectedDeviation(style.alpha, at.summed, name=f"{name}_deviation")(y)
    if not activated:
        y = style.activate(style.normalize(y, name, 1), name, 1)
    first = y
    for i, conv in enumerate(branch, 1):
        if i > 1:
            y = style.activate(style.normalize(y, name, i), name, i)
        last = i == len(branch)
        if last and dropout:
            y = Dropout(dropout, name=f"{name}_dropout")(y)
        start = style.branch_initializer(branch, last=last, total=at.total, zero=True)
        y = style.conv(y, *conv, initializer=start, name=f"{name}_conv{i}")
    return first, y


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


def add(x: keras.KerasTensor, y: keras.KerasTensor, at: Spot) -> keras.KerasTensor:
    """A block's input and its branch's output, gated if blocks may be dropped."""
    if at.gate is not None:
        y = keras.layers.Multiply(name=f"{at.name}_gated")([y, at.gate])
    return keras.layers.Add(name=f"{at.name}_add")([x, y])


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
    recompute: bool | str,
) -> keras.KerasTensor:
    """The stages of a network, the blocks that keep their input's shape each time as one `repeat`.

    Args:
        block: maps x and a branch, with a Spot, to the block's output.
        wanted: a Stage for each.
        first_block: used in place of `block` for the network's first.
        strided_block: the `first` or the `last` block of a stage has its strides.
        survival: of the last block in a training step, see `survivals`.
        stage: `looped` or `unrolled`; says how equal blocks are run, not what they compute.
        recompute: keep less of the forward pass, in looped stages.

    Raises ValueError for another word.
    """
    one_of("strided_block", strided_block, "first", "last")
    total, done, summed = sum(stage.blocks for stage in wanted), 0, 0
    for number, (branch, count, strides) in enumerate(wanted, 1):
        filters = branch(strides=1)[-1].filters
        first, last = (strides, 1) if strided_block == "first" else (1, strides)
        opens = 1 if first > 1 or x.shape[-1] != filters else 0
        closes = 1 if last > 1 else 0
        spans = (0, opens, first), (opens, count - closes, 1), (count - closes, count, last)
        for start, stop, stride in spans:
            build = first_block if first_block and done == 0 else block
            projects = x.shape[-1] != filters
            x = repeat(
                partial(build, branch=branch(strides=stride)),
                x,
                range(done, done + stop - start),
                total,
                survival=survival,
                summed=summed,
                first=start + 1,
                name=names.stage(number),
                stage=stage,
                recompute=recompute,
            )
            done += stop - start
            summed = stop - start + (0 if projects else summed)
    return x


def repeat(
    block: Callable[..., keras.KerasTensor],
    x: keras.KerasTensor,
    numbers: range,
    total: int,
    *,
    survival: float,
    summed: int = 0,
    first: int = 1,
    name: str,
    stage: str,
    recompute: bool | str,
) -> keras.KerasTensor:
    """Equal blocks: one `Repeat` (looped) or a Keras layer for each operation (unrolled).

    Several blocks must keep the shape of x. Raises ValueError for another word.

    Args:
        block: maps x and a Spot to the output.
        numbers: a range, of these blocks among the `total` of the network, from 0.
        survival: of the last of all blocks, see `survivals`.
        summed: of the first of these, see Spot.
        first: its number in the stage.
        name: of the stage.
        stage: `looped` or `unrolled`.
        recompute: keep less of the forward pass of a loop, see `layers.Repeat`.
    """
    one_of("stage", stage, "looped", "unrolled")
    recompute_in_loops(recompute, stage)
    chances = survivals(survival, numbers, total)
    if stage == "unrolled" or len(numbers) <= 1:
        for i, chance in enumerate(chances):
            block_name = names.block(name, first + i)
            x = block(x, at=Spot(block_name, gates(x, [chance], block_name), summed + i, total))
        return x
    name_of_all = names.blocks(name, range(first, first + len(numbers)))
    inputs = [keras.Input(x.shape[1:], dtype=x.dtype)]
    outer = gates(x, chances, name_of_all)
    if outer is not None:
        inputs.append(keras.Input(batch_shape=(1, 1, 1, 1), dtype=outer.dtype))
    at = Spot(names.ANY_BLOCK, inputs[1] if outer is not None else None, summed, total)
    template = keras.Model(inputs, block(inputs[0], at=at), name=f"{name}_block")
    return Repeat(template, len(numbers), first, recompute, name=name_of_all)(x, gates=outer)


def survivals(last: float, numbers: range, total: int) -> list[float]:
    """Of blocks of these numbers, from 0: falling linearly to the `last` (Huang et al. 2016, eq. 4)."""
    return [1 - (number + 1) / total * (1 - last) for number in numbers]


def gates(x: keras.KerasTensor, survival: list[float], name: str) -> keras.KerasTensor | None:
    """Gates for blocks that survive a step with these probabilities, or None where all always do."""
    return SurvivalGates(survival, name=f"{name}_survival")(x) if min(survival) < 1 else None


def classifier(x: keras.KerasTensor, num_classes: int, style: Style | None = None) -> keras.KerasTensor:
    """Global average pooling and a dense layer: float32 logits `(N, num_classes)`; in FixUp's `style` 0."""
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if style and style.residual == "fixup":
        return logits(Shift(name="logits_shift")(x), num_classes, initializer="zeros")
    return logits(x, num_classes)


def logits(
    x: keras.KerasTensor, num_classes: int, initializer: str = "he_normal", bias: bool = True
) -> keras.KerasTensor:
    if num_classes < 2:
        raise ValueError(f"num_classes is at least 2, not {num_classes}")
    options = {"use_bias": bias, "kernel_initializer": initializer, "dtype": "float32", "name": "logits"}
    return keras.layers.Dense(num_classes, **options)(x)
