"""A small network with a layer of its own."""

import keras

from resnet.models.blocks import Style, classifier


@keras.saving.register_keras_serializable("my_research")
class Scale(keras.layers.Layer):
    """Multiplies by one learned number."""

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")

    def call(self, inputs):
        return inputs * keras.ops.cast(self.scale, inputs.dtype)


def scaled_net(input_shape, num_classes, width=16, blocks=2):
    """Residual blocks of one convolution each, whose branch ends in a `Scale`.

    Float images `(N, H, W, C)` to logits `(N, num_classes)`.
    """
    style = Style(shortcut="identity")
    inputs = keras.Input(input_shape, name="images")
    x = style.conv(inputs, width, 3, 2, name="stem_conv")
    for block in range(1, blocks + 1):
        name = f"stage1_block{block}"
        y = style.normalize(style.conv(x, width, 3, name=f"{name}_conv1"), name, 1)
        x = keras.layers.Add(name=f"{name}_add")([x, Scale(name=f"{name}_scale")(y)])
        x = style.activate(x, name, 1)
    return keras.Model(inputs, classifier(x, num_classes), name="scaled_net")
