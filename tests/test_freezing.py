"""Layers frozen as Keras users freeze them: what is in a loop is found, and stays as it does unrolled."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet.models import repeat, resnet_v1, stack, summary, unstack
from tests.test_models import step

NORM, CONV = keras.layers.BatchNormalization, keras.layers.Conv2D


def freeze(model, *kinds):
    for layer in model._flatten_layers():
        if isinstance(layer, kinds):
            layer.trainable = False


def freeze_stage(model, *_):
    for layer in model.layers:
        if layer.name.startswith("stage2"):
            layer.trainable = False


@pytest.fixture(params=["written out", "in a loop", pytest.param("recomputed", marks=pytest.mark.slow)])
def pair(request, monkeypatch):
    """A looped network in each of its ways to run, and the same one unrolled."""
    if request.param == "in a loop":
        monkeypatch.setattr(repeat, "FEW_BLOCKS", 0)
    keras.utils.set_random_seed(1)
    build = {"depth": 20, "conv_bias": False, "bn_momentum": 0.5}
    looped = resnet_v1((12, 12, 3), 5, recompute=request.param == "recomputed", **build)
    unrolled = resnet_v1((12, 12, 3), 5, stage="unrolled", **build)
    stack(unrolled, unstack(looped))
    return looped, unrolled


def trained(model):
    """Names of the weights that a training moves, by block."""
    marked = keras.models.clone_model(model)
    for variable, like in zip(marked.variables, model.variables, strict=True):
        variable.assign(tf.ones_like(variable) * any(like is v for v in model.trainable_variables))
    return {name for name, w in unstack(marked).items() if w.all()}


def descend(model):
    """One step of gradient descent; logits in training, and the weights after it by block."""
    images = tf.constant(np.random.default_rng(1).normal(0.5, 1.5, (8, 12, 12, 3)).astype("float32"))

    logits, gradients = step(model, images)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(0.01 * gradient)
    return logits, unstack(model)


@pytest.mark.parametrize(
    ("freezing", "kinds", "frozen"),
    [
        (freeze, (NORM,), lambda name: "_bn" in name),
        (freeze, (CONV,), lambda name: "conv" in name or "shortcut/" in name),
        (freeze_stage, (), lambda name: name.startswith("stage2")),
    ],
    ids=["norms", "convolutions", "a stage"],
)
def test_frozen_is_what_is_frozen_unrolled(pair, freezing, kinds, frozen):
    looped, unrolled = pair
    before = unstack(looped)
    for model in pair:
        freezing(model, *kinds)
    named = {name for name in before if "moving" not in name}
    assert trained(looped) == trained(unrolled) == {name for name in named if not frozen(name)}
    (logits, after), (expected, weights) = map(descend, pair)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    for name, was in before.items():
        atol = 1e-4 * np.abs(weights[name]).max()
        np.testing.assert_allclose(after[name], weights[name], rtol=1e-3, atol=atol, err_msg=name)
        normed = freezing is not freeze or NORM in kinds  # frozen convolutions leave the statistics moving
        still = frozen(name) and (normed or "moving" not in name)
        assert np.array_equal(after[name], was) == still, name


def test_frozen_norms_use_their_statistics_in_training(pair):
    images = np.random.default_rng(1).normal(2, 3, (4, 12, 12, 3)).astype("float32")
    for model in pair:
        assert not np.allclose(tf.function(model)(images, training=True), tf.function(model)(images))
        freeze(model, NORM)
        trained, inferred = (tf.function(model)(images, training=t) for t in (True, False))
        np.testing.assert_array_equal(trained, inferred)


@pytest.mark.slow
@pytest.mark.parametrize("freezing", [lambda model: freeze(model, NORM), freeze_stage])
def test_saved_and_loaded_it_stays_frozen(pair, freezing, tmp_path):
    looped, _ = pair
    freezing(looped)
    looped.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert [v.path for v in again.trainable_variables] == [v.path for v in looped.trainable_variables]
    assert [v.path for v in again.variables] == [v.path for v in looped.variables]
    assert summary(again) == summary(looped)
    (logits, after), (expected, weights) = map(descend, (again, looped))
    np.testing.assert_array_equal(logits, expected)
    for name, weight in weights.items():
        np.testing.assert_array_equal(after[name], weight, err_msg=name)


def test_thawed_it_is_what_it_was(pair):
    looped, _ = pair
    variables, trainable = list(looped.variables), list(looped.trainable_variables)
    parameters = looped.count_params()
    freeze(looped, NORM)
    assert len(looped.trainable_variables) < len(trainable)
    assert list(map(id, looped.variables)) == list(map(id, variables))
    assert looped.count_params() == parameters == sum(w.size for w in unstack(looped).values())
    looped.trainable = False
    assert not looped.trainable_variables
    looped.trainable = True
    assert list(map(id, looped.trainable_variables)) == list(map(id, trainable))
