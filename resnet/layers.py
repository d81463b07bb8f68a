"""What Keras lacks: fused batch normalisation, the parameter-free shortcut, and a stage as one loop."""

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


@keras.saving.register_keras_serializable("resnet")
class Stage(keras.layers.Layer):
    """Equal residual blocks as one layer: weights stacked as `(repeats, ...)`, walked by a loop.

    Start-up time and the size of the graph do not depend on `repeats`. Maps `(N, H, W, C)` to the same
    shape.

    Args:
        block: functional keras.Model of one block, whose output has its input's shape. It says what
            is computed; its own weights are not used.
        repeats: number of blocks.
        first: number of the first of them in its stage, for `resnet.models.unstack`.
        recompute: keep the input of each block only and compute the rest again in the backward pass
            (Chen et al. 2016, section 4.1).
    """

    def __init__(self, block, repeats, first=1, recompute=False, **kwargs):
        super().__init__(**kwargs)
        # Not through Keras' own __setattr__, which would count the block's weights as this layer's.
        object.__setattr__(self, "block", block)
        self.repeats = repeats
        self.first = first
        self.recompute = recompute

    def build(self, input_shape):
        for layer in self.block.layers:
            for variable in layer.variables:
                self.add_weight(
                    name=f"{layer.name}_{variable.name}",
                    shape=(self.repeats, *variable.shape),
                    initializer=_stacked(getattr(layer, f"{variable.name}_initializer"), self.repeats),
                    regularizer=variable.regularizer,
                    trainable=variable.trainable,
                    aggregation="none" if variable.trainable else "mean",
                    autocast=False,
                )

    def call(self, inputs, training=False):
        training = bool(training) and self.trainable
        trained = len(self.block.trainable_variables)
        statistics = self.weights[trained:]

        def apply(x, *weights):
            x, moved = self.block.stateless_call(weights[:trained], weights[trained:], x, training=training)
            return x, *map(tf.stop_gradient, moved)

        apply = tf.recompute_grad(apply) if self.recompute else apply
        stacks = [tf.TensorArray(v.dtype, self.repeats).unstack(tf.convert_to_tensor(v)) for v in self.weights]

        def body(i, x, moved):
            x, *values = apply(x, *(stack.read(i) for stack in stacks))
            return i + 1, x, [array.write(i, value) for array, value in zip(moved, values, strict=True)]

        _, outputs, moved = tf.while_loop(
            lambda i, *_: i < self.repeats,
            body,
            (tf.constant(0), inputs, [tf.TensorArray(v.dtype, self.repeats) for v in statistics]),
            maximum_iterations=self.repeats,
            parallel_iterations=1,
        )
        if training:
            for variable, array in zip(statistics, moved, strict=True):
                variable.assign(array.stack())
        return outputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        block = keras.saving.serialize_keras_object(self.block)
        return {
            **super().get_config(),
            "block": block,
            "repeats": self.repeats,
            "first": self.first,
            "recompute": self.recompute,
        }

    @classmethod
    def from_config(cls, config):
        block = keras.saving.deserialize_keras_object(config["block"])
        return cls(**{**config, "block": block})


def _stacked(initializer, repeats):
    """`initializer` of one block's weights as one of `repeats` blocks'.

    It draws the blocks as filters side by side, which leaves the fan-in, and so the distribution of
    He-normal weights, what it is.
    """

    def initialize(shape, dtype=None):
        *inner, last = shape[1:]
        wide = initializer((*inner, repeats * last), dtype=dtype)
        return keras.ops.moveaxis(keras.ops.reshape(wide, (*inner, repeats, last)), -2, 0)

    return initialize
