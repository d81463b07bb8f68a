"""What decays, and how, against steps computed by hand."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet.errors import UserError
from resnet.models import resnet_v1, stack, unstack
from resnet.training import optimizers
from resnet.training.trainer import Trainer
from tests.worker import noise

RATE, DECAY, MOMENTUM = 0.1, 0.03, 0.9


def network(stage="looped", l2=0.0):
    """Its second and third block of the first stage are one layer where looped."""
    keras.utils.set_random_seed(3)
    model = resnet_v1((8, 8, 3), 10, depth=20, filters=[4, 4, 8], stage=stage, l2=l2)
    random = np.random.default_rng(0)
    stack(model, {name: random.normal(size=value.shape) for name, value in sorted(unstack(model).items())})
    return model


def gradient(weights):
    """Of a loss that has each component of a weight by itself."""
    return np.sin(3 * weights)


def stepped(optimizer, stage="looped", steps=3):
    """Weights by block after steps along `gradient`."""
    model = network(stage)
    for _ in range(steps):
        optimizer.apply([tf.sin(3 * v) for v in model.trainable_variables], model.trainable_variables)
    return unstack(model)


def decays(name, decay_of):
    """By its name in a network whose blocks are layers of their own."""
    layer, kind = name.split("/")
    if decay_of == "kernels":
        return kind == "kernel" and layer != "logits" and not layer.startswith("dense")
    return decay_of == "all" or kind == "kernel"


def sgd(w, decay, decoupled):
    moving = 0
    for _ in range(3):
        if decoupled:
            w, g = w - RATE * decay * w, gradient(w)
        else:
            g = gradient(w) + decay * w
        moving = MOMENTUM * moving + g
        w = w - RATE * moving
    return w


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("decay_of", ["kernels", "weights", "all"])
def test_momentum_by_hand(decay_of, decoupled):
    start, options = unstack(network()), {"decay_of": decay_of, "decoupled": decoupled}
    found = stepped(optimizers.SGD(RATE, MOMENTUM, weight_decay=DECAY, **options))
    for name, value in start.items():
        if "moving" in name:
            continue
        expected = sgd(value.astype(float), DECAY if decays(name, decay_of) else 0.0, decoupled)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("decoupled", [True, False])
def test_adam_by_hand(decoupled):
    weights = np.random.default_rng(0).normal(size=50).astype("float32")
    variable = keras.Variable(weights, name="kernel")
    optimizer = optimizers.Adam(RATE, weight_decay=DECAY, decoupled=decoupled, epsilon=1e-2)
    for _ in range(3):
        optimizer.apply([tf.sin(3 * variable)], [variable])
    # The operation's epsilon is that of section 2 of Kingma and Ba, beside the uncorrected root.
    m = v = 0
    w = weights.astype(float)
    for step in (1, 2, 3):
        g = gradient(w) + (0 if decoupled else DECAY * w)
        w = w - RATE * DECAY * w * decoupled
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-2)
    np.testing.assert_allclose(variable.numpy(), w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", optimizers.__all__)
@pytest.mark.parametrize("options", [{"decay_of": "weights"}, {"decoupled": False}, {"clipnorm": 1.0}])
def test_looped_is_unrolled(name, options):
    def optimizer():
        return getattr(optimizers, name)(0.01, weight_decay=DECAY, **options)

    looped, unrolled = (stepped(optimizer(), stage) for stage in ("looped", "unrolled"))
    assert looped.keys() == unrolled.keys()
    for weight, value in looped.items():
        np.testing.assert_allclose(value, unrolled[weight], rtol=1e-3, atol=1e-4, err_msg=weight)


def trained(optimizer, l2, steps=3):
    dataset = noise()
    keras.utils.set_random_seed(3)
    trainer = Trainer(epochs=1, batch_size=40, max_steps=steps, watch="test")
    model = resnet_v1(dataset.image_shape, 10, depth=8, l2=l2)
    trainer.compile(model, optimizer, dataset)
    trainer.fit()
    return unstack(model)


def test_coupled_decay_is_twice_the_l2():
    of_kernels = {"weight_decay": 0.02, "decay_of": "kernels", "decoupled": False}
    found = trained(optimizers.SGD(0.05, **of_kernels), l2=0.0)
    expected = trained(optimizers.SGD(0.05), l2=0.01)
    without = trained(optimizers.SGD(0.05), l2=0.0)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=2e-6, err_msg=name)
    assert np.abs(found["stem_conv/kernel"] - without["stem_conv/kernel"]).max() > 1e-4


def test_groups_have_rates_and_decays_of_their_own():
    """The first that matches holds, stacked weights and single ones alike."""
    groups = [
        {"match": "stage1.*gamma", "rate_factor": 2.0, "weight_decay": 0.5},
        {"match": "bias|gamma|beta", "weight_decay": 0.0},
        {"match": "^stem", "rate_factor": 0.0},
    ]
    start = unstack(network())
    found = stepped(optimizers.SGD(RATE, 0.0, weight_decay=DECAY, groups=groups), steps=1)
    for name, w in start.items():
        if "moving" in name:
            continue
        if name.startswith("stage1") and name.endswith("gamma"):
            rate, decay = 2 * RATE, 0.5
        elif not name.endswith("kernel"):
            rate, decay = RATE, 0.0
        else:
            rate, decay = (0.0 if name.startswith("stem") else RATE), DECAY
        expected = w - rate * decay * w
        expected = expected - rate * gradient(w)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_group_of_nothing_is_refused():
    groups = [{"match": "bn"}, {"match": "bn1_gamma", "weight_decay": 1.0}]
    for wrong in ([{"match": "block17"}], groups):
        with pytest.raises(UserError, match=f"{wrong[-1]['match']}\nweights are called stem_conv/kernel"):
            stepped(optimizers.SGD(0.1, groups=wrong))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay_of": "norms"}, "decay_of=norms: expected kernels, weights, all"),
        ({"groups": [{"match": "("}]}, r"groups: match=\(: "),
        ({"groups": [{"match": "a", "rate": 1.0}]}, "expected match, with rate_factor"),
        ({"groups": [{"rate_factor": 1.0}]}, "expected match"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "Only one of"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        optimizers.SGD(0.1, **options)


@pytest.mark.parametrize("name", optimizers.__all__)
def test_saved_with_its_options(name):
    options = {"weight_decay": 0.1, "decay_of": "weights", "decoupled": False, "clipnorm": 2.0}
    optimizer = getattr(optimizers, name)(0.01, groups=[{"match": "bias", "rate_factor": 2.0}], **options)
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    copy = keras.optimizers.deserialize(config)
    assert type(copy) is type(optimizer)
    assert copy.get_config() == optimizer.get_config()
    assert copy.get_config().items() >= options.items()
