import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import norm

from resnet.models import convolution
from resnet.models.activations import Activation, ReLU
from resnet.models.batch_norm import FusedBatchNormalization
from resnet.models.convolution import Conv2D


@pytest.mark.parametrize(("policy", "atol"), [("float32", 2e-5), ("mixed_bfloat16", 1e-2)])
@pytest.mark.parametrize("reference", ["same policy", "float32"])
@pytest.mark.parametrize("shape", [(8, 6, 5, 4), (1, 1, 2, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_same_as_keras(policy, atol, reference, shape, training):
    """Outputs, gradients and moving statistics, as parts of the largest of each where that exceeds 1."""
    images = tf.constant(np.random.default_rng(0).normal(2, 3, shape).astype("float32"))
    images = tf.cast(tf.cast(images, tf.bfloat16), tf.float32)
    upstream = tf.constant(np.random.default_rng(1).normal(1, 1, shape).astype("float32"))
    results = []
    for layer in (
        keras.layers.BatchNormalization(dtype=policy if reference == "same policy" else "float32"),
        FusedBatchNormalization(dtype=policy),
    ):
        layer.build(shape)
        layer.set_weights([np.linspace(start, 2, shape[-1]) for start in (0.5, -1, -1, 0.5)])
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = tf.cast(layer(images, training=training), tf.float32)
            loss = tf.reduce_sum(outputs * upstream)
        gradients = tape.gradient(loss, [images, layer.gamma.value, layer.beta.value])
        results.append([outputs, *gradients, layer.moving_mean.value, layer.moving_variance.value])
    for expected, value in zip(*results, strict=True):
        scale = max(1.0, float(tf.reduce_max(tf.abs(expected))))
        np.testing.assert_allclose(value / scale, expected / scale, atol=atol, rtol=0)


def test_other_ranks_and_masks_are_left_to_keras():
    images = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    fused, stock = FusedBatchNormalization(), keras.layers.BatchNormalization()
    np.testing.assert_array_equal(fused(images, training=True), stock(images, training=True))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("options", [{}, {"negative_slope": 0.1}, {"max_value": 1.0}, {"threshold": 0.5}])
def test_relu_is_keras(policy, options):
    """Outputs and gradients to the last bit, of 0 and infinity as well; what is no number stays none."""
    rng = np.random.default_rng(0)
    images, upstream = (rng.normal(size=(4, 8, 8, 3)).astype("float32") for _ in range(2))
    images.flat[:5] = 0.0, -0.0, np.inf, -np.inf, np.nan
    upstream.flat[4] = 0.0
    results = []
    for layer in (keras.layers.ReLU(**options, dtype=policy), ReLU(**options, dtype=policy)):

        @tf.function
        def run(images, upstream, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(images)
                outputs = layer(images)
            return outputs, tape.gradient(outputs, images, tf.cast(upstream, outputs.dtype))

        outputs, gradients = run(images, upstream)
        assert outputs.dtype == layer.compute_dtype
        results.append([tf.cast(outputs, tf.float32), gradients])
    for expected, value in zip(*results, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert layer.get_config().keys() == keras.layers.ReLU().get_config().keys()


@pytest.mark.parametrize(("policy", "atol"), [("float32", 1e-5), ("mixed_bfloat16", 2e-2)])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 5, 4, 128), {"kernel_size": 3}),
        ((2, 7, 8, 160), {"kernel_size": (1, 5)}),
        ((2, 2, 2, 128), {"kernel_size": 1}),
        ((2, 3, 3, 128), {"kernel_size": 3, "activation": "tanh", "use_bias": True}),
        ((2, 5, 4, 128), {"kernel_size": 3, "strides": 2}),
        ((2, 5, 4, 128), {"kernel_size": 2}),
        ((2, 5, 4, 128), {"kernel_size": 3, "dilation_rate": 2}),
        ((2, 5, 4, 128), {"kernel_size": 3, "groups": 2}),
        ((2, 5, 4, 128), {"kernel_size": 3, "padding": "valid"}),
        ((2, 12, 12, 128), {"kernel_size": 3}),
        ((2, 5, 4, 8), {"kernel_size": 3}),
    ],
)
def test_a_convolution_is_keras(shape, options, policy, atol, monkeypatch):
    """Outputs and gradients, as parts of the largest of each, of Keras' layer in float32."""
    monkeypatch.setattr(convolution, "cpu_words", lambda: {"avx512_bf16"})
    rng = np.random.default_rng(0)
    options = {"filters": 128, "padding": "same", "use_bias": False, **options}
    theirs, ours = keras.layers.Conv2D(**options, dtype="float32"), Conv2D(**options, dtype=policy)
    images = tf.constant(rng.normal(size=shape).astype("float32"))
    results = []
    for layer in (theirs, ours):
        layer.build(shape)
        layer.set_weights(theirs.get_weights())

        @tf.function
        def run(images, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(images)
                outputs = tf.cast(layer(images), tf.float32)
                upstream = 1 + tf.random.stateless_normal(tf.shape(outputs), (0, 1))
                loss = tf.reduce_sum(outputs * upstream)
            return outputs, *tape.gradient(loss, [images, *(w.value for w in layer.trainable_variables)])

        results.append(run(images))
    for expected, value in zip(*results, strict=True):
        scale = float(tf.reduce_max(tf.abs(expected)))
        np.testing.assert_allclose(value / scale, expected / scale, atol=atol, rtol=0)
    assert ours.get_config().keys() == theirs.get_config().keys()


def test_gelu_of_every_bfloat16_and_its_slope_are_right_to_its_precision():
    patterns = np.arange(2**16, dtype="uint16")
    x = tf.bitcast(tf.constant(patterns), tf.bfloat16)
    x = tf.boolean_mask(x, tf.abs(x) < 1e30)
    layer = Activation("gelu", dtype="mixed_bfloat16")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    exact = np.array(x, "float64")
    off = abs(np.array(y, "float64") - exact * norm.cdf(exact))
    assert (off <= 2**-8 * abs(exact) + 2e-38).all()  # smaller numbers XLA takes for 0
    slope = norm.cdf(exact) + exact * norm.pdf(exact)
    np.testing.assert_allclose(np.array(tape.gradient(y, x), "float64"), slope, rtol=2**-8, atol=2**-10)


@pytest.mark.parametrize(("policy", "atol"), [("float32", 1e-5), ("mixed_bfloat16", 1e-2)])
@pytest.mark.parametrize("name", ["gelu", "silu", "tanh"])
@pytest.mark.parametrize("training", [True, False])
def test_an_activation_is_keras(name, policy, atol, training):
    """Outputs and gradients, as parts of the largest of each, of Keras' layer in float32."""
    rng = np.random.default_rng(0)
    images, upstream = (rng.normal(0, 3, (4, 8, 8, 3)).astype("float32") for _ in range(2))
    images = tf.cast(tf.cast(images, tf.bfloat16), tf.float32)
    results = []
    stock, ours = keras.layers.Activation(name, dtype="float32"), Activation(name, dtype=policy)
    for layer, called in ((stock, {}), (ours, {"training": training})):

        @tf.function
        def run(images, layer=layer, called=called):
            with tf.GradientTape() as tape:
                tape.watch(images)
                outputs = tf.cast(layer(images, **called), tf.float32)
                loss = tf.reduce_sum(outputs * upstream)
            assert outputs.shape == images.shape
            return outputs, tape.gradient(loss, images)

        results.append(run(images))
    for expected, value in zip(*results, strict=True):
        scale = float(tf.reduce_max(tf.abs(expected)))
        np.testing.assert_allclose(value / scale, expected / scale, atol=atol, rtol=0)
    assert layer.get_config().keys() == keras.layers.Activation(name).get_config().keys()
