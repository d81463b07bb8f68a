"""A convolution whose kernel's gradient is quick in bfloat16 too."""

from __future__ import annotations

import keras
import tensorflow as tf

from resnet.process import cpu_words

# From so many channels before and after on the product is quicker, as benchmarks/layers.py and
# benchmarks/operations.py show: of outputs with fewer pixels than 8 x 8, and of larger ones by the pixel.
CHANNELS, PIXELS, CHANNELS_A_PIXEL = 128, 64, 8


@keras.saving.register_keras_serializable("resnet")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, which in bfloat16 trains wide layers of small pictures in less time on a CPU.

    Same arguments, variables and results. oneDNN's gradient of a bfloat16 kernel reaches half the rate of its
    matrix product and less, the smaller the pictures are, but on CPUs with AMX. The gradient is the product
    of the padded input, moved by each offset of the kernel, and the output's gradient.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if self._is_product_quicker(inputs):
            return _convolve(inputs, tf.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)

    def _is_product_quicker(self, inputs):
        height, width, channels = inputs.shape[1:]
        if not (height and width):
            return False
        least = CHANNELS if height * width < PIXELS else CHANNELS_A_PIXEL * height * width
        return (
            inputs.dtype == tf.bfloat16
            and min(channels, self.filters) >= least
            and self.padding == "same"
            and self.strides == self.dilation_rate == (1, 1)
            and self.groups == 1
            and all(size % 2 for size in self.kernel_size)
            and self.data_format == "channels_last"
            and not tf.config.list_physical_devices("GPU")
            and "amx_bf16" not in cpu_words()
        )


@tf.custom_gradient
def _convolve(x, kernel):
    """A convolution of stride 1 with padding, of images `(N, H, W, C)`."""

    def gradients(dy):
        shape = tf.shape(x, tf.int32)
        dx = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=shape, filter=kernel, out_backprop=dy, strides=[1] * 4, padding="SAME"
        )
        (rows, columns, channels, filters), (_, height, width, _) = kernel.shape, x.shape
        padded = tf.pad(x, [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]])
        outputs = tf.reshape(dy, (-1, filters))
        moved = [
            tf.reshape(padded[:, i : i + height, j : j + width], (-1, channels))
            for i in range(rows)
            for j in range(columns)
        ]
        products = [tf.matmul(inputs, outputs, transpose_a=True) for inputs in moved]
        return dx, tf.reshape(tf.stack(products), kernel.shape)

    return tf.nn.conv2d(x, kernel, 1, "SAME"), gradients
