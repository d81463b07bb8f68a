"""An augmentation, a loss, an optimizer, a metric and a callback."""

import keras
import tensorflow as tf

from resnet.augmentation.transform import Transform, each, uniform


def dim(strength=0.3):
    """Darken each picture by a share of up to `strength` of its own."""

    def augment(batch, seed):
        factor = 1 - uniform(seed, 0, [batch.size], 0.0, strength)
        return batch._replace(images=batch.images * each(factor))

    return Transform("dim", augment)


def squared_error():
    """The squared distance of probabilities and targets (Brier 1950), in training and in evaluation."""

    def loss(targets, logits, training):
        return tf.reduce_sum(tf.square(tf.nn.softmax(logits) - targets), axis=1)

    return loss


class SignDescent(keras.optimizers.Optimizer):
    """Steps of the same size in the gradient's direction (Bernstein et al. 2018, signSGD)."""

    def __init__(self, learning_rate=0.001, **options):
        super().__init__(learning_rate=learning_rate, **options)

    def update_step(self, gradient, variable, learning_rate):
        step = keras.ops.cast(learning_rate, variable.dtype) * keras.ops.sign(gradient)
        self.assign_sub(variable, step)


def confidence():
    """The mean of the highest probability."""
    return lambda targets, logits: tf.reduce_max(tf.nn.softmax(logits), axis=1)


class StopWhenGood(keras.callbacks.Callback):
    """Ends the training after `patience` epochs in a row at `accuracy` of the watched images, or above."""

    def __init__(self, accuracy=0.95, patience=2):
        super().__init__()
        self.accuracy, self.patience, self.good = accuracy, patience, 0

    def on_epoch_end(self, epoch, logs=None):
        self.good = self.good + 1 if logs["val_accuracy"] >= self.accuracy else 0
        self.model.stop_training = self.good >= self.patience

    def state(self):
        return {"good": self.good}

    def restore(self, state):
        self.good = state["good"]
