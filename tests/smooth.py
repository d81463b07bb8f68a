"""Trainings of a small network without kinks, at which rounding could decide: weights can be compared."""

import copy

import keras
import numpy as np

from resnet.models.batch_norm import FusedBatchNormalization
from resnet.training.trainer import Trainer
from tests.worker import noise

BATCH, EPOCHS = 48, 3  # 200 images: the last batch of an epoch has 8


def network(dataset, batch_norm=True):
    """With weight decay."""
    keras.utils.set_random_seed(3)
    layers, decay = keras.layers, keras.regularizers.L2(1e-3)
    x = inputs = keras.Input(dataset.image_shape)
    for i in (1, 2):
        x = layers.Conv2D(6, 3, strides=i, kernel_regularizer=decay, name=f"conv{i}")(x)
        x = FusedBatchNormalization(momentum=0.9, name=f"bn{i}")(x) if batch_norm else x
        x = layers.Activation("tanh")(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(layers.GlobalAveragePooling2D()(x)))


def without_batch_norm(dataset):
    """Whose statistics would be those of each replica's own images."""
    return network(dataset, batch_norm=False)


def trained(optimizer, strategy=None, model=network, callbacks=(), checkpoint=None, **options):
    """A Trainer after its training, of `optimizer()`; from `checkpoint` on, where one is given."""
    dataset = noise()
    trainer = Trainer(
        **{"epochs": EPOCHS, "batch_size": BATCH, "watch": "test", "strategy": strategy} | options
    )
    with trainer.scope():
        trainer.compile(model(dataset), optimizer(), dataset)
    if checkpoint:
        trainer.restore(*checkpoint)
    trainer.fit(callbacks)
    return trainer


def trainable(model):
    return [np.array(variable) for variable in model.trainable_variables]


def assert_equal(found, expected, rtol=1e-4, atol=2e-6):
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=rtol, atol=atol)


class Keep(keras.callbacks.Callback):
    """Takes the state that a checkpoint after `step` would hold."""

    every_step = True

    def __init__(self, step):
        super().__init__()
        self.step, self.kept = step, None

    def on_train_batch_end(self, batch, logs=None):
        if self.trainer.step == self.step:
            self.kept = copy.deepcopy(self.trainer.state())
