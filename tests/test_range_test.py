"""The range test of the learning rate."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import resnet
from resnet.data import synthetic
from resnet.run.callbacks import RangeTest
from resnet.run.run import Run

WHOLE = {"train_size": None, "test_size": None, "validation_split": 0.0, "normalization": "channel"}


def ranged(steps, run=None, **options):
    """A linear network in a range test of so many steps, the weights before it, and the test."""
    keras.utils.set_random_seed(1)
    images = keras.Input((8, 8, 3))
    dense = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))  # diverges from rate 100 on
    model = keras.Model(images, dense(keras.layers.Flatten()(images)))
    data = synthetic(8, classes=3, train_images=60, test_images=30, **WHOLE)
    before, callback = model.get_weights(), RangeTest(**options)
    sgd = keras.optimizers.SGD(0.5)
    resnet.fit(
        model,
        data,
        sgd,
        callbacks={"lr_range": callback},
        run=run,
        epochs=100,
        max_steps=steps,
        batch_size=20,
    )
    return model, before, callback


@pytest.mark.slow
def test_rates_rise_and_the_loss_says_which_is_best(tmp_path):
    with Run(tmp_path / "run") as run:
        model, before, test = ranged(60, run, low=1e-4, high=1e4, smoothing=0.8, diverged=3.0)
    rates = np.geomspace(1e-4, 1e4, 60)[: len(test.rates)]
    np.testing.assert_allclose(test.rates, rates, rtol=1e-4)
    kept = [0.8 ** np.arange(i, -1, -1) for i in range(len(test.losses))]
    means = np.array([np.average(test.losses[: len(k)], weights=k) for k in kept])
    np.testing.assert_allclose(test.smoothed(), means)
    assert len(means) < 60 and means[-1] > 3 * means.min() >= means[-2]
    for weight, first in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, first)
    least, falls = means.argmin(), -np.diff(means)
    assert 5 < least < len(means) - 1
    found = json.loads((tmp_path / "run" / "result.json").read_text())["lr_range"]
    assert found == {
        "suggested_rate": pytest.approx(rates[least] / 10, rel=1e-3),
        "least_rate": pytest.approx(rates[least], rel=1e-3),
        "steepest_rate": pytest.approx(rates[5 + falls[5:least].argmax()], rel=1e-3),
    }
    assert Image.open(tmp_path / "run" / "lr_range.png").size > (300, 200)


def test_a_loss_that_is_no_number_ends_it_without_an_error():
    model, before, test = ranged(20, low=1e-3, high=1e38, diverged=1e38)
    assert not np.isfinite(test.losses[-1]) and np.isfinite(test.losses[:-1]).all()
    assert test.result()["least_rate"] in test.rates
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_a_range_that_ends_too_early_is_told(caplog):
    ranged(30, low=1e-3, high=0.05)
    assert "larger callbacks.lr_range.high" in caplog.text


def test_a_range_rises():
    with pytest.raises(ValueError, match="low=0.1: expected a rate below high=0.01"):
        RangeTest(0.1, 0.01)
