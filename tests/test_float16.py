"""Half precision, whose gradients the scaled loss keeps from vanishing and from overflowing."""

import keras
import numpy as np
import pytest

import resnet
from resnet.data import Normalization, digits
from resnet.data.dataset import Dataset, Split, make_dataset
from resnet.models import resnet_v1
from resnet.training.environment import prepare
from resnet.training.optimizers import SGD, Adam
from resnet.training.trainer import Trainer


@pytest.fixture
def float16():
    prepare(precision="float16")
    yield
    prepare()


def small_pictures():
    """Digits of 8x8 pixels: half precision is slow on a CPU."""
    found = digits(train_size=200, test_size=100, validation_split=0.0, seed=1)
    parts = (Split(part.images[:, ::4, ::4], part.labels) for part in (found.train, found.test))
    return make_dataset(*parts, found.class_names, validation_split=0.0)


def trained(precision, **options):
    prepare(precision=precision)
    keras.utils.set_random_seed(3)
    dataset = small_pictures()
    trainer = Trainer(**{"epochs": 4, "batch_size": 20, "precision": precision} | options)
    with trainer.scope():
        model, optimizer = resnet_v1(dataset.image_shape, 10, depth=8), Adam(1e-3)
    resnet.fit(model, dataset, optimizer, trainer=trainer, callbacks=[])
    return trainer


@pytest.mark.slow
def test_it_follows_float32(float16):
    half, single = trained("float16"), trained("float32")
    layers = {layer.compute_dtype for layer in half.model.layers if isinstance(layer, keras.layers.Conv2D)}
    assert layers == {"float16"}
    assert {variable.dtype for variable in half.model.trainable_variables} == {"float32"}
    losses = [[epoch["train"]["loss"] for epoch in trainer.history] for trainer in (half, single)]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.03)
    assert losses[0][-1] == pytest.approx(losses[1][-1], rel=0.15)


@pytest.mark.slow
def test_it_goes_on_with_its_scale(float16):
    before = trained("float16", max_steps=1)
    before.optimizer.dynamic_scale.assign(64.0)
    after = Trainer(epochs=4, batch_size=20, precision="float16")
    prepare(precision="float16")
    model = resnet_v1(before.dataset.image_shape, 10, depth=8)
    after.compile(model, Adam(1e-3), before.dataset)
    after.restore(*before.state())
    assert after.optimizer.dynamic_scale.numpy() == 64.0


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_step_that_overflows_on_one_replica_is_left_out_on_both(float16, two_replicas, seed):
    """A black image, whose gradient is 0, and one of values of 1e3; the seeds give them to either replica."""
    images = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)])
    split = Split(images, np.array([0, 1], np.int32))
    normalization = Normalization(np.zeros(3, np.float32), np.full(3, 1e-3, np.float32))
    dataset = Dataset(split, split.take(np.array([0])), ["a", "b"], normalization)
    options = {"epochs": 1, "batch_size": 2, "precision": "float16", "seed": seed}
    trainer = Trainer(strategy=two_replicas, **options)
    with trainer.scope():
        inputs = keras.Input((4, 4, 3))
        logits = keras.layers.Dense(2, kernel_initializer="zeros")(keras.layers.Flatten()(inputs))
        model = keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(logits))
        optimizer = SGD(0.1)
    resnet.fit(model, dataset, optimizer, trainer=trainer, callbacks=[])
    for weights in model.get_weights():
        np.testing.assert_array_equal(weights, 0)
    assert trainer.optimizer.dynamic_scale.numpy() == 2.0**14
    assert optimizer.iterations.numpy() == 0
