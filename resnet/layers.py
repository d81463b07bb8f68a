"""What Keras lacks: batch normalisation on TensorFlow's fused op, and the parameter-free shortcut."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("resnet")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` on `FusedBatchNormV3` (Ioffe and Szegedy 2015).

    Same arguments, variables and results. The fused op serves float images `(N, H, W, C)` normalised
    over the last axis; any other use (masks, synchronised or renormalised statistics) is Keras' own.
    """

    def add_weight(self, *args, **kwargs):
        # Replicas each see their own part of a batch: their moving statistics are averaged.
        if not kwargs.get("trainable", True):
            kwargs.setdefault("aggregation", "mean")
        return super().add_weight(*args, **kwargs)

    def call(self, inputs, training=None, mask=None):
        if not self._fusible(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        training = bool(training) and self.trainable
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma if self.scale else tf.ones_like(self.moving_mean),
            offset=self.beta if self.center else tf.zeros_like(self.moving_mean),
            mean=self.moving_mean,
            variance=self.moving_variance,
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            # The op's variance divides by n-1, Keras' by n.
            n = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance * ((n - 1) / n))
        return outputs

    def _move(self, average, value):
        average.assign(average * self.momentum + value * (1 - self.momentum))

    def _fusible(self, inputs, mask):
        return (
            mask is None
            and not self.synchronized
            and not self.renorm
            and len(inputs.shape) == 4
            and self.axis in (3, -1)
            and inputs.dtype in (tf.float32, tf.bfloat16, tf.float16)
        )


@keras.saving.register_keras_serializable("resnet")
class IdentityShortcut(keras.layers.Layer):
    """Shortcut without parameters: take every `strides`-th pixel and pad channels with zeros.

    Option A of He et al. 2015, section 3.3: `(N, H, W, C)` to
    `(N, ceil(H / strides), ceil(W / strides), filters)`, where `filters >= C`.
    """

    def __init__(self, filters, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides

    def call(self, inputs):
        added = self.filters - inputs.shape[-1]
        strided = inputs[:, :: self.strides, :: self.strides, :]
        return tf.pad(strided, [[0, 0], [0, 0], [0, 0], [added // 2, added - added // 2]])

    def compute_output_shape(self, input_shape):
        n, h, w, _ = input_shape
        return n, *(size and -(-size // self.strides) for size in (h, w)), self.filters

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "strides": self.strides}
