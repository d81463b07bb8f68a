"""The networks that keras.applications has too: its weights, copied across, give its outputs."""

import keras
import numpy as np
import pytest

from resnet.models import applications, convnext, densenet_imagenet, resnet_imagenet, stack, unstack, vgg

SHAPE = (64, 64, 3)


def randomized(model):
    """The model with no weight left at 0 or 1."""
    random = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.name != "kernel":
            variable.assign(random.normal(0, 0.1, variable.shape))
    return model


def assert_same(theirs, ours):
    randomized(theirs)
    weights = applications.weights_of(theirs)
    before = unstack(ours)
    # Their v2 has no bias where a BN follows; ours is 0 there.
    assert {name.split("/")[1] for name in before.keys() - weights} <= {"bias", "seed_generator_state"}
    stack(ours, before | weights)
    assert_same_logits(theirs, ours)


def assert_same_logits(theirs, ours):
    images = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype("float32")
    expected = theirs(images).numpy()
    np.testing.assert_allclose(ours(images), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def application(name, **options):
    build = getattr(keras.applications, name)
    return build(weights=None, input_shape=SHAPE, classes=10, classifier_activation=None, **options)


@pytest.mark.parametrize(
    ("name", "depth", "options"),
    [
        ("ResNet50", 50, applications.V1),
        ("ResNet50V2", 50, applications.V2),
        ("ResNet101", 101, applications.V1),
        ("ResNet101V2", 101, applications.V2),
        pytest.param("ResNet152", 152, applications.V1, marks=pytest.mark.slow),
        pytest.param("ResNet152V2", 152, applications.V2, marks=pytest.mark.slow),
    ],
)
def test_resnet(name, depth, options):
    assert_same(application(name), resnet_imagenet(SHAPE, 10, depth, **options))


@pytest.mark.parametrize("depth", [16, 19])
def test_vgg(depth):
    ours = vgg(SHAPE, 10, depth, head="imagenet", norm="none")
    theirs = application(f"VGG{depth}")
    assert ours.count_params() == theirs.count_params()
    assert_same(theirs, ours)


def assert_same_in_the_order_of_layers(theirs, ours):
    """A 1x1 convolution may be a dense layer of theirs."""
    arrays, shapes = randomized(theirs).get_weights(), [v.shape for v in ours.weights]
    ours.set_weights([array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True)])
    assert_same_logits(theirs, ours)


@pytest.mark.parametrize("depth", [121, pytest.param(201, marks=pytest.mark.slow)])
def test_densenet(depth):
    ours = densenet_imagenet(SHAPE, 10, depth, bn_epsilon=1.001e-5)
    assert_same_in_the_order_of_layers(application(f"DenseNet{depth}"), ours)


def test_convnext():
    theirs = application("ConvNeXtTiny", include_preprocessing=False)
    unrolled = convnext(SHAPE, 10, size="tiny", stage="unrolled")
    assert_same_in_the_order_of_layers(theirs, unrolled)
    looped = convnext(SHAPE, 10, size="tiny")
    stack(looped, unstack(unrolled))
    assert_same_logits(theirs, looped)
