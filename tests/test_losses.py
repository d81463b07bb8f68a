"""Losses beside Keras', scikit-learn's and their papers' formulas, and what a network learns by each."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, log_softmax, rel_entr, softmax
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

import resnet
from resnet.augmentation import Batch, Transform, in_order, mixup, shift_flip
from resnet.data import Preprocessing, digits
from resnet.data.dataset import Split
from resnet.errors import UserError
from resnet.training import losses
from resnet.training.distillation import Distillation
from resnet.training.trainer import Trainer

RNG = np.random.default_rng(5)
LOGITS = 3 * RNG.normal(size=(40, 6))
HARD = np.eye(6)[RNG.integers(0, 6, 40)]
MIXED = 0.7 * HARD + 0.3 * np.eye(6)[RNG.integers(0, 6, 40)]


def some_digits(train=300, **options):
    options = {"validation_split": 0.0, "normalization": "channel", "seed": 1} | options
    return digits(train_size=train, test_size=200, **options)


def network(dataset):
    """A small one, without batch norm, whose statistics would be those of each replica's own images."""
    layers = keras.layers
    parts = [layers.Conv2D(filters, 3, strides=2, activation="tanh") for filters in (8, 16)]
    return keras.Sequential([keras.Input(dataset.image_shape), *parts, layers.Flatten(), layers.Dense(10)])


def cross_entropy(targets, logits):
    return -(targets * log_softmax(logits, axis=1)).sum(1)


def focal(targets, logits):
    return -(targets * (1 - softmax(logits, axis=1)) ** 3 * log_softmax(logits, axis=1)).sum(1)


def binary(targets, logits):
    p = expit(logits)
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(1)


def symmetric(targets, logits):
    reverse = softmax(logits, axis=1) * np.log(np.maximum(targets, np.exp(-5)))
    return 0.5 * cross_entropy(targets, logits) - 2 * reverse.sum(1)


def hard_bootstrapped(targets, logits):
    own = np.eye(6)[logits.argmax(1)]
    return cross_entropy(0.7 * targets + 0.3 * own, logits)


def soft_bootstrapped(targets, logits):
    return cross_entropy(0.7 * targets + 0.3 * softmax(logits, axis=1), logits)


FORMULAS = [
    (losses.focal(3.0), focal),
    (losses.binary(), binary),
    (losses.binary(0.3), lambda targets, logits: binary(targets > 0.3, logits)),
    (losses.symmetric(0.5, 2.0, -5.0), symmetric),
    (losses.bootstrapped(0.7, "hard"), hard_bootstrapped),
    (losses.bootstrapped(0.7, "soft"), soft_bootstrapped),
]


@pytest.mark.parametrize("targets", [HARD, MIXED], ids=["one-hot", "mixed"])
@pytest.mark.parametrize(("loss", "formula"), FORMULAS)
def test_values_and_gradients_are_those_of_the_formula(loss, formula, targets):
    logits = tf.constant(LOGITS, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = loss(tf.constant(targets, tf.float32), logits, True)
    np.testing.assert_allclose(found, formula(targets, LOGITS), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(found, logits), slope(lambda z: formula(targets, z), LOGITS), rtol=1e-3, atol=1e-5
    )


def slope(function, logits, step=1e-6):
    """Central differences of a function of each row."""
    ways = step * np.eye(logits.shape[1])
    return np.stack([(function(logits + way) - function(logits - way)) / (2 * step) for way in ways], axis=1)


@pytest.mark.parametrize("loss", [loss for loss, _ in FORMULAS])
def test_evaluation_is_cross_entropy(loss):
    found = loss(tf.constant(MIXED, tf.float32), tf.constant(LOGITS, tf.float32), False)
    np.testing.assert_allclose(found, cross_entropy(MIXED, LOGITS), rtol=1e-5)


def test_those_that_keras_has():
    logits, targets = tf.constant(LOGITS, tf.float32), tf.constant(HARD, tf.float32)
    of_keras = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=1.5, from_logits=True, reduction=None
    )
    np.testing.assert_allclose(losses.focal(1.5)(targets, logits, True), of_keras(targets, logits), rtol=1e-4)
    of_keras = keras.losses.BinaryCrossentropy(from_logits=True, reduction=None)
    np.testing.assert_allclose(losses.binary()(targets, logits, True), of_keras(targets, logits), rtol=1e-5)


def test_values_by_hand():
    """Two classes at 3/4 and 1/4, the second of them is the label."""
    logits, targets = tf.constant([[np.log(3.0), 0.0]], tf.float32), tf.constant([[0.0, 1.0]])
    four = np.log(4)
    values = [
        (losses.focal(2.0), 0.75**2 * four),
        (losses.symmetric(0.1, 1.0, -4.0), 0.1 * four + 4 * 3 / 4),  # log 0 = -4 of all other classes
        (losses.bootstrapped(0.8, "hard"), 0.8 * four + 0.2 * np.log(4 / 3)),
        (losses.binary(), (four + np.log(2)) / 2),  # sigmoids of 3/4 and 1/2
    ]
    for loss, value in values:
        assert loss(targets, logits, True).numpy() == pytest.approx([value])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_a_gradient_where_all_is_certain(gamma):
    logits = tf.constant([[200.0, 0.0], [0.0, 200.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = losses.focal(gamma)(tf.constant([[1.0, 0.0], [1.0, 0.0]]), logits, True)
    np.testing.assert_allclose(found, [0, 200], atol=1e-3)
    np.testing.assert_allclose(tape.gradient(found, logits), [[0, 0], [-1, 1]], atol=1e-3)


def imbalanced():
    """Digits, and fewer of each class than of the one before."""
    dataset = some_digits()
    labels = dataset.train.labels
    kept = np.concatenate([np.flatnonzero(labels == k)[: 28 - 2 * k] for k in range(10)])
    return dataclasses.replace(dataset, train=dataset.train.take(kept))


def test_class_weights_are_scikit_learns_and_so_is_the_loss():
    dataset = imbalanced()
    labels = dataset.train.labels
    loss = losses.ClassWeighted().bind(dataset, Preprocessing.of(dataset))
    logits = RNG.normal(size=(len(labels), 10)).astype(np.float32)
    batch = Batch(None, tf.one_hot(labels, 10), None, None)
    weights = compute_class_weight("balanced", classes=np.arange(10), y=labels)[labels]
    expected = log_loss(labels, softmax(logits.astype(float), axis=1), sample_weight=weights)
    assert float(np.mean(loss(batch, logits, True))) == pytest.approx(expected, rel=1e-5)
    plain = log_loss(labels, softmax(logits.astype(float), axis=1))
    assert float(np.mean(loss(batch, logits, False))) == pytest.approx(plain, rel=1e-5)
    assert abs(expected - plain) > 1e-3


def test_class_weights_have_the_gradient_of_weighted_images():
    dataset = imbalanced()
    loss = losses.ClassWeighted().bind(dataset, Preprocessing.of(dataset))
    weights = compute_class_weight("balanced", classes=np.arange(10), y=dataset.train.labels)
    logits = tf.constant(RNG.normal(size=(10, 10)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = loss(Batch(None, tf.eye(10), None, None), logits, True)
    expected = weights[:, None] * (softmax(logits.numpy(), axis=1) - np.eye(10))
    np.testing.assert_allclose(tape.gradient(found, logits), expected, rtol=1e-4, atol=1e-6)


# Distillation


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The directory of a finished run, and its Trainer."""
    directory = tmp_path_factory.mktemp("teacher")
    keras.utils.set_random_seed(4)
    dataset = some_digits(600, normalization="pixel_mean")
    with resnet.Run(directory) as run:
        trainer = resnet.fit(network(dataset), dataset, adam(), epochs=6, run=run, **SMALL)
    assert run.result["test"]["accuracy"] > 0.8
    return directory, trainer


SMALL = {"batch_size": 30, "callbacks": {}, "plateau": None}


def adam():
    return keras.optimizers.Adam(3e-3)


def bound(loss, dataset, augment):
    preprocessing = Preprocessing.of(dataset, augment, seed=2)
    numbers, first = np.arange(20, dtype=np.int32), tf.constant(0)
    images, labels = dataset.train.batch(numbers)
    batch = preprocessing.training(images, labels, tf.constant(numbers), first, first)
    return losses.loss_of(loss, dataset, preprocessing), batch, preprocessing


def test_distillation_is_its_formula_on_the_batch_as_the_teacher_would_see_it(teacher):
    """The network is given channel-normalised images, the teacher was trained on others."""
    directory, trainer = teacher
    loss = Distillation(directory, temperature=3.0, alpha=0.7)
    found, batch, preprocessing = bound(loss, some_digits(), in_order([shift_flip(), mixup()]))
    pixels = preprocessing.normalization.unscale(batch.images.numpy())
    taught = trainer.model.predict(trainer.preprocessing.inference(pixels), verbose=0).astype(float)
    logits = RNG.normal(size=(20, 10))
    divergence = rel_entr(softmax(taught / 3, axis=1), softmax(logits / 3, axis=1)).sum(1)
    hard = cross_entropy(batch.labels.numpy(), logits)
    logits = tf.constant(logits, tf.float32)
    np.testing.assert_allclose(
        found(batch, logits, True), 0.3 * hard + 0.7 * 9 * divergence, rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(found(batch, logits, False), hard, rtol=1e-5)


def test_what_is_kept_without_augmentation_is_what_would_be_computed(teacher):
    loss, dataset = Distillation(teacher[0], alpha=1.0), some_digits()
    kept, batch, _ = bound(loss, dataset, None)
    computed, _, _ = bound(loss, dataset, Transform("same", lambda batch, seed: batch))
    logits = tf.constant(RNG.normal(size=(20, 10)), tf.float32)
    np.testing.assert_allclose(kept(batch, logits, True), computed(batch, logits, True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("augment", [None, shift_flip()], ids=["kept", "asked"])
def test_a_teacher_is_learned_from_without_a_right_label(teacher, augment):
    dataset = some_digits(600)
    wrong = dataclasses.replace(dataset.train, labels=(dataset.train.labels + 1) % 10)
    dataset = dataclasses.replace(dataset, train=wrong)
    history = trained(Distillation(teacher[0], alpha=1.0), dataset, augment, epochs=8).history
    assert history[-1]["test"]["accuracy"] > 0.7
    assert history[-1]["train"]["accuracy"] < 0.2


def test_a_teacher_must_fit(teacher, tmp_path):
    directory, _ = teacher
    dataset = some_digits()
    small = {name: Split(part.images[:, ::2, ::2], part.labels) for name, part in dataset.parts.items()}
    cases = [
        (directory, dataclasses.replace(dataset, **small), "data: images of 16x16x3, .* on 32x32x3"),
        (directory, dataclasses.replace(dataset, class_names=list("abcdefghij")), "data: the classes are a"),
        (tmp_path, dataset, "there is no run"),
    ]
    for place, given, words in cases:
        with pytest.raises(UserError, match=f"^loss.teacher: .*{words}"):
            Distillation(place).bind(given, Preprocessing.of(given))


# Learning


def trained(loss, dataset, augmentation=None, **options):
    trainer = Trainer(batch_size=30, watch="test", **options)
    keras.utils.set_random_seed(3)
    with trainer.scope():
        trainer.compile(network(dataset), adam(), dataset, loss=loss, augmentation=augmentation)
    trainer.fit()
    return trainer


LEARNING = {
    "focal": losses.focal(),
    "binary": losses.binary(),
    "binary of mixtures": losses.binary(0.2),
    "symmetric": losses.symmetric(),
    "bootstrapped": losses.bootstrapped(),
    "soft bootstrapped": losses.bootstrapped(0.95, "soft"),
    "class weighted": losses.ClassWeighted(),
}


@pytest.mark.parametrize("name", LEARNING)
def test_digits_are_learned(name):
    augment = mixup(0.3) if name == "binary of mixtures" else None
    history = trained(LEARNING[name], some_digits(600), augment, epochs=6).history
    assert history[-1]["train"]["loss"] < 0.8 * history[0]["train"]["loss"]
    assert history[-1]["test"]["accuracy"] > 0.75


@pytest.mark.parametrize("augment", ["darker", None])
@pytest.mark.parametrize("name", ["class weighted", "distillation"])
def test_replicas_and_parts_give_the_weights_of_whole_batches(name, augment, teacher, two_replicas):
    loss = Distillation(teacher[0]) if name == "distillation" else losses.ClassWeighted()
    options = {"epochs": 2, "augmentation": augment and darker()}
    expected = trained(loss, imbalanced(), **options).model.trainable_variables
    for ways in ({"strategy": two_replicas}, {"accumulate_steps": 3}):
        found = trained(loss, imbalanced(), **options, **ways).model.trainable_variables
        for variable, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(np.array(variable), np.array(other), rtol=1e-3, atol=1e-4)


def darker():
    """Changes every picture, and the same on any replica."""
    return Transform("darker", lambda batch, seed: batch._replace(images=0.5 * batch.images))
