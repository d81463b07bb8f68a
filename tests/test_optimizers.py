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


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (1, 1, 64, 16), (5, 3, 3, 8, 16)])
def test_normalized_a_step_changes_a_share_of_the_kernel(shape):
    """From a kernel of any size, but with the root of its columns for its norm, a tenth of that."""
    random = np.random.default_rng(0)
    before, gradient = (random.normal(size=shape).astype("float32") for _ in range(2))
    variable = keras.Variable(before)
    Muon(0.1, normalize=True, weight_decay=0.0).apply([keras.ops.convert_to_tensor(gradient)], [variable])
    each = (-1, np.prod(shape[-4:-1]), shape[-1])
    for kernel, after in zip(before.reshape(each), variable.numpy().reshape(each), strict=True):
        start = kernel * np.sqrt(shape[-1]) / np.linalg.norm(kernel)
        assert np.linalg.norm(after - start) == pytest.approx(0.1 * np.sqrt(shape[-1]), rel=0.2)


@pytest.mark.parametrize("shape", [(8,), (8, 4), (3, 8)])
def test_other_weights_are_left_to_adamw(shape):
    gradient = np.random.default_rng(0).normal(size=shape).astype("float32")
    reference = keras.Variable(np.zeros(shape, "float32"))
    keras.optimizers.AdamW(1e-3, weight_decay=0.0).apply([keras.ops.convert_to_tensor(gradient)], [reference])
    found = update(np.zeros(shape, "float32"), gradient)
    np.testing.assert_allclose(found, -reference.numpy() / 1e-3, rtol=1e-4)


@pytest.mark.parametrize("nesterov", [False, True])
def test_other_weights_are_left_to_gradient_descent_where_told_so(nesterov):
    gradients = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    found, reference = keras.Variable(np.ones(8, "float32")), keras.Variable(np.ones(8, "float32"))
    muon = Muon(0.1, nesterov=nesterov, others="sgd", others_momentum=0.8, weight_decay=0.0)
    sgd = keras.optimizers.SGD(0.1, momentum=0.8, nesterov=nesterov)
    for gradient in gradients:
        muon.apply([keras.ops.convert_to_tensor(gradient)], [found])
        sgd.apply([keras.ops.convert_to_tensor(gradient)], [reference])
    np.testing.assert_allclose(found.numpy(), reference.numpy(), rtol=1e-5)


def test_others_are_adam_or_sgd():
    with pytest.raises(ValueError, match="others=lion: expected adam or sgd"):
        Muon(others="lion")


def test_decay_is_of_kernels_only():
    for shape, decays in (((3, 3, 4, 4), True), ((8, 4), False), ((8,), False)):
        ones, gradient = np.ones(shape, "float32"), np.ones(shape, "float32")
        added = update(ones, gradient, weight_decay=0.5) - update(ones, gradient)
        np.testing.assert_allclose(added, 0.5 if decays else 0, atol=1e-3)


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["SGD", "Lion", "Lamb"])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"clipnorm": 0.1}])
def test_others_are_those_of_keras(name, options):
    options = {"weight_decay": None} | options
    if name != "SGD":
        options["beta_1"] = 0.8
    ours = stepped(getattr(optimizers, name), **{"decay_of": "all"} | options)
    keras_own = stepped(
        getattr(keras.optimizers, name), **({"momentum": 0.9} if name == "SGD" else {}) | options
    )
    for value, expected in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=3e-6)


def test_one_operation_a_variable():
    weights = [keras.Variable(np.ones(shape, "float32")) for shape in SHAPES]
    optimizer = optimizers.Adam()
    optimizer.build(weights)

    @tf.function
    def apply():
        optimizer.apply([tf.ones(shape) for shape in SHAPES])

    operations = [op.type for op in apply.get_concrete_function().graph.get_operations()]
    assert operations.count("ResourceApplyAdam") == len(SHAPES)


RATES = [0.1, 0.3, 0.2, 0.05, 0.1, 0.1, 0.02]
START = np.random.default_rng(0).normal(size=(3, 3, 2, 4))


def gradient(w):
    return np.sin(3 * w)


def followed(optimizer, name="kernel"):
    """A weight that is stepped along `gradient` with RATES, and what it ends as, as floats."""
    weight = keras.Variable(START.astype("float32"), name=name)
    for rate in RATES:
        optimizer.learning_rate = rate
        optimizer.apply([tf.sin(3 * weight)], [weight])
    trained = weight.numpy()
    optimizer.finalize_variable_values([weight])
    return trained, weight.numpy()


def assert_followed(found, expected):
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=2e-4, atol=2e-5)


def test_lars_steps_as_the_paper_says():
    """You et al. 2017, algorithm 1, with the norm of gradient and decay together."""
    w, moving = START, 0
    for rate in RATES:
        direction = gradient(w) + 0.2 * w
        trust = 0.05 * np.linalg.norm(w) / np.linalg.norm(direction)
        moving = 0.9 * moving + rate * trust * direction
        w = w - moving
    assert_followed(followed(optimizers.LARS(0.1, trust=0.05, weight_decay=0.2)), [w, w])


def test_lars_leaves_biases_to_momentum():
    found = followed(optimizers.LARS(0.1, momentum=0.5), name="bias")
    assert_followed(found, followed(optimizers.SGD(0.1, momentum=0.5), name="bias"))


def test_lars_does_not_mind_the_size_of_the_gradient():
    """You et al. 2017, section 4: neither does its step vanish nor explode with it."""
    moved = []
    for size in (1e-3, 1.0, 1e3):
        weight = keras.Variable(START.astype("float32"), name="kernel")
        optimizers.LARS(0.1, weight_decay=None).apply([size * tf.sin(3 * weight)], [weight])
        moved.append(weight.numpy() - START)
    for other in moved[1:]:
        np.testing.assert_allclose(other, moved[0], rtol=1e-3, atol=1e-6)


def schedule_free(beta, decay, direction, correction=lambda step: 1.0):
    """Algorithm 1 of Defazio et al. 2024: what trains, and what the network ends as."""
    z = x = y = START
    total = 0
    for step, rate in enumerate(RATES, 1):
        rate = rate * correction(step)
        z = z - rate * direction(gradient(y)) - rate * decay * y
        total += rate**2
        x = x + rate**2 / total * (z - x)
        y = (1 - beta) * z + beta * x
    return y, x


def test_schedule_free_sgd_steps_as_the_paper_says():
    found = followed(optimizers.ScheduleFreeSGD(1.0, beta=0.8, weight_decay=0.1))
    assert_followed(found, schedule_free(0.8, 0.1, lambda g: g))


def test_schedule_free_adamw_steps_as_the_paper_says():
    mean = np.zeros_like(START)

    def direction(g):
        mean[:] = 0.99 * mean + 0.01 * g * g
        return g / (np.sqrt(mean) + 1e-8)

    optimizer = optimizers.ScheduleFreeAdamW(1.0, beta_1=0.8, beta_2=0.99, weight_decay=0.1)
    expected = schedule_free(0.8, 0.1, direction, lambda step: np.sqrt(1 - 0.99**step))
    assert_followed(followed(optimizer), expected)


def test_schedule_free_without_beta_ends_as_the_mean_of_sgd():
    """Polyak-Ruppert averaging, of which the method is a generalisation (section 2 there)."""
    weight, mean = START, 0
    for rate in RATES:
        weight = weight - rate * gradient(weight)
        mean = mean + rate**2 * weight / np.sum(np.square(RATES))
    assert_followed(followed(optimizers.ScheduleFreeSGD(1.0, beta=0.0)), [weight, mean])


def test_lookahead_steps_as_the_paper_says():
    """Zhang et al. 2019, algorithm 1: three steps of momentum forward, a part of them back; seven steps."""
    fast = slow = START
    moving = 0
    for step, rate in enumerate(RATES, 1):
        moving = 0.9 * moving - rate * gradient(fast)
        fast = fast + moving
        if step % 3 == 0:
            fast = slow = slow + 0.4 * (fast - slow)
    options = {"lookahead_steps": 3, "lookahead_step_size": 0.4}
    assert_followed(followed(optimizers.SGD(0.1, 0.9, **options)), [fast, slow])


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Muon", "Lion", "Lamb", "LARS"])
def test_lookahead_all_the_way_is_the_optimizer_itself(name):
    kind = getattr(optimizers, name)
    trained, _ = followed(kind(0.1, lookahead_steps=2, lookahead_step_size=1.0))
    expected, _ = followed(kind(0.1))
    np.testing.assert_allclose(trained, expected, rtol=1e-4, atol=1e-5)
