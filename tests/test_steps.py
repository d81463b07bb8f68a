"""Averaged weights, batches in parts and sharpness-aware steps, against NumPy and larger batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet.errors import UserError
from resnet.models import resnet_v1
from resnet.training import optimizers
from resnet.training.sharpness import SAM
from resnet.training.trainer import Trainer
from resnet.training.weights import measure_batch_norm
from tests.smooth import EPOCHS, Keep, assert_equal, network, trainable, trained, without_batch_norm


def momentum():
    return optimizers.SGD(0.05, momentum=0.9)


class Weights(keras.callbacks.Callback):
    """After every step."""

    every_step = True

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(trainable(self.model))


def ema(**options):
    return trained(momentum, final_weights="ema", ema_decay=0.8, **options)


@pytest.fixture(scope="module")
def averaged():
    weights = Weights()
    return ema(callbacks=[weights]), weights.seen


def test_ema_is_the_mean_of_every_step(averaged):
    trainer, seen = averaged
    counts = 0.8 ** np.arange(len(seen))[::-1]
    expected = [np.tensordot(counts / counts.sum(), steps, 1) for steps in zip(*seen, strict=True)]
    assert_equal(trainable(trainer.model), expected)
    assert np.abs(expected[0] - seen[-1][0]).max() > 1e-3


def test_ema_has_batch_norm_statistics_of_its_own(averaged):
    trainer, _ = averaged
    found = trainer.model.get_weights()
    measure_batch_norm(trainer.model, trainer._batches())
    assert_equal(found, trainer.model.get_weights())
    means = [v.numpy() for v in trainer.model.non_trainable_variables if "moving_mean" in v.path]
    raw = [v.numpy() for v in trained(momentum).model.non_trainable_variables if "moving_mean" in v.path]
    assert np.abs(means[1] - raw[1]).max() > 1e-3


def test_ema_of_a_resumed_training_is_that_of_the_uninterrupted(averaged):
    keep = Keep(step=6)
    ema(callbacks=[keep])
    assert_equal(ema(checkpoint=keep.kept).model.get_weights(), averaged[0].model.get_weights(), rtol=1e-6)


def test_ema_on_two_replicas_is_that_of_one(two_replicas):
    several, one = (
        trainable(ema(strategy=strategy, model=without_batch_norm).model) for strategy in (two_replicas, None)
    )
    assert_equal(several, one)


@pytest.mark.parametrize("options", [{}, {"sam_rho": 0.1}, {"sam_rho": 0.5, "sam_adaptive": True}])
def test_parts_are_the_whole_batch_without_batch_norm(options):
    """Their sizes differ: batches have 48 and 8 images."""
    whole, parts = (
        trained(momentum, model=without_batch_norm, accumulate_steps=n, **options) for n in (1, 5)
    )
    assert parts.step == whole.step == 5 * EPOCHS
    assert_equal(trainable(parts.model), trainable(whole.model))
    for found, expected in zip(parts.history, whole.history, strict=True):
        assert found["train"] == pytest.approx(expected["train"], rel=1e-5)
        assert found["test"] == pytest.approx(expected["test"], rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"accumulate_steps": 3}, {"sam_rho": 0.1}, {"sam_rho": 0.1, "accumulate_steps": 2}],
    ids=" ".join,
)
def test_two_replicas_step_as_one(options, two_replicas):
    several, one = (
        trainable(trained(momentum, strategy, without_batch_norm, **options).model)
        for strategy in (two_replicas, None)
    )
    assert_equal(several, one)


KINDS = {
    "lookahead": lambda: optimizers.SGD(0.05, 0.9, lookahead_steps=4),
    "lookahead of adam": lambda: optimizers.Adam(2e-3, epsilon=1e-3, lookahead_steps=4),
    "lars": lambda: optimizers.LARS(0.1, 0.05),
    "lamb": lambda: optimizers.Lamb(0.01, epsilon=1e-3),
    "schedule free": lambda: optimizers.ScheduleFreeSGD(0.2, weight_decay=0.01),
    "schedule free adamw": lambda: optimizers.ScheduleFreeAdamW(2e-3, epsilon=1e-3),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_optimizers_step_on_two_replicas_as_on_one(kind, two_replicas):
    several, one = (
        trainable(trained(kind, strategy, without_batch_norm, epochs=1).model)
        for strategy in (two_replicas, None)
    )
    assert_equal(several, one, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_optimizers_go_on_where_they_were(kind):
    keep = Keep(step=6)
    whole = trained(kind, callbacks=[keep], epochs=2)
    resumed = trained(kind, checkpoint=keep.kept, epochs=2)
    assert_equal(resumed.model.get_weights(), whole.model.get_weights(), rtol=1e-6)


def test_schedule_free_has_batch_norm_statistics_of_its_average():
    trainer = trained(KINDS["schedule free"])
    found = trainer.model.get_weights()
    measure_batch_norm(trainer.model, trainer._batches())
    assert_equal(found, trainer.model.get_weights())


def test_batch_norm_is_of_each_part():
    """Two parts of a batch leave what one after the other leaves in the moving means."""
    trainer = trained(momentum, accumulate_steps=2, max_steps=1)
    order = np.random.default_rng([0, 0]).permutation(200)[:48]
    fresh = network(trainer.dataset)
    for part in (order[::2], order[1::2]):
        fresh(trainer.preprocessing.inference(trainer.dataset.train.images[part]), training=True)
    names = [v.path for v in fresh.non_trainable_variables]
    for name, found, expected in zip(
        names, trainer.model.non_trainable_variables, fresh.non_trainable_variables, strict=True
    ):
        if name.startswith("bn1"):  # the second layer's sees the same weights as well
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_fewer_images_than_parts():
    with pytest.raises(UserError, match="batch_size=4 gives no image to each of 5 parts on 1 replicas\ngive"):
        Trainer(batch_size=4, accumulate_steps=5)
    assert trained(momentum, accumulate_steps=9).step == 4 * EPOCHS  # the rest of 8 images is left out


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("stage", ["smooth", "looped"])
def test_sam_steps_along_the_gradient_of_the_worst_weights_nearby(adaptive, stage):
    """By hand: climb by assigning, take the gradient there, come back, step."""

    def model(dataset):
        keras.utils.set_random_seed(3)
        return resnet_v1(dataset.image_shape, 10, depth=20, filters=[4, 4, 4], l2=1e-3)

    model = network if stage == "smooth" else model
    trainer = trained(
        lambda: optimizers.SGD(0.05, 0.0), None, model, sam_rho=0.3, sam_adaptive=adaptive, max_steps=1
    )
    keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    order = np.random.default_rng([0, 0]).permutation(200)[:48]
    images = trainer.preprocessing.inference(trainer.dataset.train.images[order])
    other = model(trainer.dataset)
    start, variables = trainable(other), other.trainable_variables

    def gradients():
        with tf.GradientTape() as tape:
            logits = other(images, training=True)
            loss = keras_loss(trainer.dataset.train.labels[order], logits) + tf.add_n(other.losses)
        return [g.numpy() for g in tape.gradient(loss, variables)]

    slopes = gradients()
    plain = [v.path.endswith(("bias", "beta")) or not adaptive for v in variables]
    scales = [np.ones_like(w) if p else np.abs(w) + 0.01 for w, p in zip(start, plain, strict=True)]
    norm = np.sqrt(sum(np.sum((t * g) ** 2) for t, g in zip(scales, slopes, strict=True)))
    for variable, t, g in zip(variables, scales, slopes, strict=True):
        variable.assign_add(0.3 * t * t * g / norm)
    statistics = [v.numpy() for v in other.non_trainable_variables if "moving" in v.path]
    expected = [w - 0.05 * g for w, g in zip(start, gradients(), strict=True)]
    assert_equal(trainable(trainer.model), expected, rtol=1e-3, atol=1e-5)
    assert (
        max(np.abs(e - (w - 0.05 * g)).max() for e, w, g in zip(expected, start, slopes, strict=True)) > 1e-4
    )
    found = [v.numpy() for v in trainer.model.non_trainable_variables if "moving" in v.path]
    assert_equal(found, statistics, atol=1e-5)


def test_asam_does_not_mind_the_scale_of_a_weight():
    """What ASAM is for: w and its gradient g, or 2w and g/2 of a rescaled network, rise alike."""
    random = np.random.default_rng(0)
    w, g = random.normal(size=(2, 50)) * 100  # beside which the constant 0.01 is small
    rises = {}
    for adaptive in (True, False):
        for scale in (1.0, 2.0):
            variable = keras.Variable((w * scale).astype("float32"))
            (worst,) = SAM(0.5, adaptive).uphill([variable], [tf.constant(g / scale, tf.float32)])
            rises[adaptive, scale] = np.sum((worst - variable.numpy()) * g / scale)
    assert rises[True, 2.0] == pytest.approx(rises[True, 1.0], rel=1e-3)
    assert rises[False, 2.0] < 0.6 * rises[False, 1.0]
