"""The pieces that every residual network here is built from, in Keras' functional style."""

import keras

from resnet.layers import FusedBatchNormalization, IdentityShortcut, Stage, SurvivalGates


def conv(x, filters, kernel_size, strides=1, *, bias, l2, name, initializer="he_normal"):
    """Convolution with He-normal weights (He et al. 2015b) and L2 decay on kernel only."""
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=bias,
        kernel_initializer=initializer,
        kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
        name=name,
    )(x)


def norm(x, name, scale="ones"):
    return FusedBatchNormalization(gamma_initializer=scale, name=name)(x)


def relu(x, name):
    return keras.layers.ReLU(name=name)(x)


def stem(x, filters, **conv_options):
    """The first 3x3 convolution with its BN and ReLU."""
    return relu(norm(conv(x, filters, 3, name="stem_conv", **conv_options), "stem_bn"), "stem_relu")


def shortcut(x, filters, strides, kind, *, name, **conv_options):
    """Bring the block's input to its output's shape: `projection` (1x1) or `identity` (option A)."""
    if strides == 1 and x.shape[-1] == filters:
        return x
    if kind == "projection":
        return conv(x, filters, 1, strides, name=f"{name}_shortcut", **conv_options)
    return IdentityShortcut(filters, strides, name=f"{name}_shortcut")(x)


def gates(x, survival, name):
    """Gates for blocks that survive a step with these probabilities, or None where all always do."""
    return SurvivalGates(survival, name=f"{name}_survival")(x) if min(survival) < 1 else None


def gated(x, gate, name):
    return x if gate is None else keras.layers.Multiply(name=f"{name}_gated")([x, gate])


def basic_block(x, filters, strides, kind, *, zero_init, gate, name, **conv_options):
    """Two 3x3 convolutions, ReLU after the addition (He et al. 2015, figure 2).

    `zero_init` starts the block as its shortcut: the last scale is 0 (Goyal et al. 2017, section 5.1).
    """
    y = conv(x, filters, 3, strides, name=f"{name}_conv1", **conv_options)
    y = relu(norm(y, f"{name}_bn1"), f"{name}_relu1")
    y = conv(y, filters, 3, name=f"{name}_conv2", **conv_options)
    y = norm(y, f"{name}_bn2", scale="zeros" if zero_init else "ones")
    y = gated(y, gate, name)
    x = shortcut(x, filters, strides, kind, name=name, **conv_options)
    return relu(keras.layers.Add(name=f"{name}_add")([x, y]), f"{name}_relu2")


def preactivation_bottleneck(
    x, filters, out_filters, strides, kind, *, activated, zero_init, gate, name, **conv_options
):
    """1x1, 3x3, 1x1 convolutions, each after its BN and ReLU (He et al. 2016, figure 4e).

    `activated` says that x has just been normalised and rectified, so the first pair is left out.
    `zero_init` starts the block as its shortcut: the last convolution is 0 (Zhang et al. 2019,
    section 3).
    """
    y = x if activated else relu(norm(x, f"{name}_bn1"), f"{name}_relu1")
    y = conv(y, filters, 1, strides, name=f"{name}_conv1", **conv_options)
    y = relu(norm(y, f"{name}_bn2"), f"{name}_relu2")
    y = conv(y, filters, 3, name=f"{name}_conv2", **conv_options)
    y = relu(norm(y, f"{name}_bn3"), f"{name}_relu3")
    initializer = "zeros" if zero_init else "he_normal"
    y = conv(y, out_filters, 1, initializer=initializer, name=f"{name}_conv3", **conv_options)
    y = gated(y, gate, name)
    x = shortcut(x, out_filters, strides, kind, name=name, **conv_options)
    return keras.layers.Add(name=f"{name}_add")([x, y])


def repeat(block, x, survival, *, first, name, form, recompute):
    """Equal blocks: one `Stage` (looped) or a Keras layer for each operation (unrolled).

    `block` maps x, a gate and a name to a tensor of x's shape; `survival` has one probability a block,
    and `first` is the number of the first.
    """
    last = first + len(survival) - 1
    if form == "unrolled":
        for i, chance in enumerate(survival, first):
            block_name = f"{name}_block{i}"
            x = block(x, gate=gates(x, [chance], block_name), name=block_name)
    elif survival:
        inputs = [keras.Input(x.shape[1:], dtype=x.dtype)]
        outer = gates(x, survival, f"{name}_blocks{first}-{last}")
        if outer is not None:
            inputs.append(keras.Input(batch_shape=(1, 1, 1, 1), dtype=outer.dtype))
        gate = inputs[1] if outer is not None else None
        template = keras.Model(inputs, block(inputs[0], gate=gate, name="block"), name=f"{name}_block")
        stage = Stage(template, len(survival), first, recompute, name=f"{name}_blocks{first}-{last}")
        x = stage(x, gates=outer)
    return x


def classifier(x, num_classes):
    """Global average pooling and a dense layer: float32 logits `(N, num_classes)`."""
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.layers.Dense(num_classes, kernel_initializer="he_normal", dtype="float32", name="logits")(x)
