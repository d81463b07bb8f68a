"""The pieces that every residual network here is built from, in Keras' functional style."""

import keras

from resnet.layers import FusedBatchNormalization, IdentityShortcut, Stage


def conv(x, filters, kernel_size, strides=1, *, bias, l2, name):
    """Convolution with He-normal weights (He et al. 2015b) and L2 decay on kernel only."""
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=bias,
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
        name=name,
    )(x)


def norm(x, name):
    return FusedBatchNormalization(name=name)(x)


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


def basic_block(x, filters, strides, kind, *, name, **conv_options):
    """Two 3x3 convolutions, ReLU after the addition (He et al. 2015, figure 2)."""
    y = conv(x, filters, 3, strides, name=f"{name}_conv1", **conv_options)
    y = relu(norm(y, f"{name}_bn1"), f"{name}_relu1")
    y = conv(y, filters, 3, name=f"{name}_conv2", **conv_options)
    y = norm(y, f"{name}_bn2")
    x = shortcut(x, filters, strides, kind, name=name, **conv_options)
    return relu(keras.layers.Add(name=f"{name}_add")([x, y]), f"{name}_relu2")


def preactivation_bottleneck(x, filters, out_filters, strides, kind, *, activated, name, **conv_options):
    """1x1, 3x3, 1x1 convolutions, each after its BN and ReLU (He et al. 2016, figure 4e).

    `activated` says that x has just been normalised and rectified, so the first pair is left out.
    """
    y = x if activated else relu(norm(x, f"{name}_bn1"), f"{name}_relu1")
    y = conv(y, filters, 1, strides, name=f"{name}_conv1", **conv_options)
    y = relu(norm(y, f"{name}_bn2"), f"{name}_relu2")
    y = conv(y, filters, 3, name=f"{name}_conv2", **conv_options)
    y = relu(norm(y, f"{name}_bn3"), f"{name}_relu3")
    y = conv(y, out_filters, 1, name=f"{name}_conv3", **conv_options)
    x = shortcut(x, out_filters, strides, kind, name=name, **conv_options)
    return keras.layers.Add(name=f"{name}_add")([x, y])


def repeat(block, x, repeats, *, first, name, form, recompute):
    """`repeats` equal blocks: one `Stage` (looped) or a Keras layer for each operation (unrolled).

    `block` maps x and a name to a tensor of x's shape; `first` is the number of the first one.
    """
    last = first + repeats - 1
    if form == "unrolled":
        for i in range(first, last + 1):
            x = block(x, name=f"{name}_block{i}")
    elif repeats:
        inputs = keras.Input(x.shape[1:], dtype=x.dtype)
        template = keras.Model(inputs, block(inputs, name="block"), name=f"{name}_block")
        x = Stage(template, repeats, first, recompute, name=f"{name}_blocks{first}-{last}")(x)
    return x


def classifier(x, num_classes):
    """Global average pooling and a dense layer: float32 logits `(N, num_classes)`."""
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.layers.Dense(num_classes, kernel_initializer="he_normal", dtype="float32", name="logits")(x)
