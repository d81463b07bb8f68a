import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet.errors import UserError
from resnet.models import resnet_v2, stack, unstack
from resnet.models.cutting import cut
from resnet.report.explain.grad_cam import grad_cam
from resnet.report.explain.gradients import norms
from tests.explanations import subject

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("frozen", [False, True])
def test_of_a_linear_network_by_hand(frozen):
    """y = x A B C averaged over pixels, and half the squared distance to 0: dloss/dy = y / N."""
    x = RNG.normal(size=(5, 2, 2, 3)).astype(np.float32)
    options = {"use_bias": False}
    y = inputs = keras.Input((2, 2, 3))
    for name, size in (("stem_conv", 4), ("stage1_block1_conv1", 4), ("stage1_block2_conv1", 4)):
        y = keras.layers.Conv2D(size, 1, name=name, **options)(y)
    y = keras.layers.GlobalAveragePooling2D(name="pool")(y)
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits", **options)(y))
    for layer in model.layers[:-1]:
        layer.trainable = not frozen
    found = norms(model, cut(model), x, np.zeros(5), lambda labels, logits: tf.reduce_sum(logits**2, 1) / 2)

    stem, first, second, last = (np.array(w).reshape(w.shape[-2:]) for w in model.weights)
    mean = x.mean((1, 2))
    dy = mean @ stem @ first @ second @ last / 5
    pixel = (dy @ last.T)[:, None, None].repeat(2, 1).repeat(2, 2) / 4  # each pixel has a quarter of the mean
    expected = {
        "head": (dy, (mean @ stem @ first @ second).T @ dy),
        "stage1_block2": (pixel, (mean @ stem @ first).T @ (dy @ last.T)),
        "stage1_block1": (pixel @ second.T, (mean @ stem).T @ (dy @ last.T @ second.T)),
        "stem": (pixel @ second.T @ first.T, mean.T @ (dy @ last.T @ second.T @ first.T)),
    }
    assert found.keys() == expected.keys()
    for name, (output, weights) in expected.items():
        assert found[name]["output"] == pytest.approx(np.linalg.norm(output), rel=1e-5)
        assert found[name]["weights"] == pytest.approx(np.linalg.norm(weights), rel=1e-5)


def test_looped_and_unrolled_have_the_gradients_of_keras():
    models = [resnet_v2((16, 16, 3), 3, 29, stage=stage) for stage in ("looped", "unrolled")]
    stack(models[1], unstack(models[0]))
    x, labels = RNG.normal(size=(8, 16, 16, 3)).astype(np.float32), np.arange(8) % 3
    looped, unrolled = (norms(m, cut(m), x, labels, subject(m).loss) for m in models)
    for name, values in looped.items():
        assert values == pytest.approx(unrolled[name], rel=1e-3), name
    with tf.GradientTape() as tape:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
            labels, models[1](x, training=True)
        )
    whole = tape.gradient(loss, models[1].trainable_variables)
    total = sum(values["weights"] ** 2 for values in unrolled.values())
    assert total == pytest.approx(sum(float(tf.reduce_sum(g**2)) for g in whole), rel=1e-3)


def test_a_stem_without_weights_passes_the_gradient_on():
    inputs = keras.Input((2, 2, 3))
    x = keras.layers.Flatten(name="stem_flat")(inputs)
    x = keras.layers.Dense(4, name="stage1_block1_dense")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))
    network = subject(model)
    found = norms(
        model,
        network.blocks,
        RNG.normal(size=(5, 2, 2, 3)).astype(np.float32),
        np.zeros(5, int),
        network.loss,
    )
    assert found["stem"]["output"] > 0 and found["stem"]["weights"] == 0
    with pytest.raises(UserError, match=r"stage1_block1 gives \(4,\) for a picture, and no maps"):
        grad_cam(network.blocks, np.zeros((1, 2, 2, 3), np.float32), [0])
