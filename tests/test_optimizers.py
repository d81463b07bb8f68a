import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import polar

from resnet.models import resnet_v1
from resnet.training import optimizers
from resnet.training.optimizers import Muon


def update(value, gradient, **options):
    """How one step moves a weight, in units of the rate."""
    variable = keras.Variable(value)
    optimizer = Muon(1e-3, **{"weight_decay": 0.0, **options})
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return (value - variable.numpy()) / 1e-3


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (1, 1, 64, 16)])
def test_a_kernel_moves_along_the_nearest_orthogonal_matrix(shape):
    gradient = np.random.default_rng(0).normal(size=shape).astype("float32")
    found = update(np.zeros(shape, "float32"), gradient).reshape(-1, shape[-1])
    exact, _ = polar(gradient.reshape(found.shape))
    rows, columns = found.shape
    found /= 0.2 * np.sqrt(max(rows, columns))
    assert np.linalg.svd(found, compute_uv=False) == pytest.approx(1, abs=0.35)  # five iterations
    assert np.sum(found * exact) > 0.95 * np.linalg.norm(found) * np.linalg.norm(exact)


def test_stacked_kernels_move_as_single_ones():
    gradients = np.random.default_rng(0).normal(size=(4, 3, 3, 8, 16)).astype("float32")
    stacked = update(np.zeros_like(gradients), gradients)
    single = [update(np.zeros_like(g), g) for g in gradients]
    np.testing.assert_allclose(stacked, single, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(8,), (8, 4), (3, 8)])
def test_other_weights_are_left_to_adamw(shape):
    gradient = np.random.default_rng(0).normal(size=shape).astype("float32")
    reference = keras.Variable(np.zeros(shape, "float32"))
    keras.optimizers.AdamW(1e-3, weight_decay=0.0).apply([keras.ops.convert_to_tensor(gradient)], [reference])
    found = update(np.zeros(shape, "float32"), gradient)
    np.testing.assert_allclose(found, -reference.numpy() / 1e-3, rtol=1e-4)


def test_decay_is_of_kernels_only():
    for shape, decays in (((3, 3, 4, 4), True), ((8, 4), False), ((8,), False)):
        ones, gradient = np.ones(shape, "float32"), np.ones(shape, "float32")
        added = update(ones, gradient, weight_decay=0.5) - update(ones, gradient)
        np.testing.assert_allclose(added, 0.5 if decays else 0, atol=1e-3)


def test_it_trains():
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(64, 8, 8, 3)), random.integers(0, 4, 64)
    images += labels[:, None, None, None]
    keras.utils.set_random_seed(1)
    model = resnet_v1((8, 8, 3), 4, depth=20, l2=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Muon(2e-3), loss)
    losses = model.fit(images, labels, batch_size=32, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


SHAPES = [(3, 3, 4, 8), (8,), ()]


def stepped(kind, steps=20, sparse=False, **options):
    """Weights and the optimizer's variables after steps whose rate and gradients change."""
    random = np.random.default_rng(0)
    weights = [keras.Variable(random.normal(size=shape).astype("float32")) for shape in SHAPES]
    optimizer = kind(learning_rate=0.1, **options)
    optimizer.build(weights)
    for step in range(steps):
        optimizer.learning_rate = 0.1 / (1 + step)
        gradients = [tf.constant(random.normal(size=shape).astype("float32")) for shape in SHAPES]
        if sparse:
            gradients[1] = tf.IndexedSlices(gradients[1][:2], tf.constant([0, 5]), tf.constant([8]))
        optimizer.apply(gradients)
    return [np.array(variable) for variable in weights + optimizer.variables]


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize(
    "options", [{}, {"beta_1": 0.5, "epsilon": 0.1}, {"amsgrad": True}, {"clipnorm": 0.1}, {"sparse": True}]
)
def test_adam_is_that_of_keras(name, options):
    ours, keras_own = (stepped(getattr(module, name), **options) for module in (optimizers, keras.optimizers))
    for value, expected in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=3e-6)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_is_saved_as_what_it_is(name):
    optimizer = getattr(optimizers, name)(learning_rate=0.01, beta_1=0.8)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is type(optimizer)
    assert copy.get_config() == optimizer.get_config()


def test_one_operation_a_variable():
    weights = [keras.Variable(np.ones(shape, "float32")) for shape in SHAPES]
    optimizer = optimizers.Adam()
    optimizer.build(weights)

    @tf.function
    def apply():
        optimizer.apply([tf.ones(shape) for shape in SHAPES])

    operations = [op.type for op in apply.get_concrete_function().graph.get_operations()]
    assert operations.count("ResourceApplyAdam") == len(SHAPES)
