"""The residual networks after ResNet, and what a Style can be: sizes as published, looped as unrolled."""

import functools
import xml.etree.ElementTree as ElementTree

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet.models import (
    architecture,
    convnext,
    densenet,
    densenet_imagenet,
    highway,
    repeat,
    resnet9,
    resnet_imagenet,
    resnet_v1,
    resnet_v2,
    resnext,
    revnet,
    stack,
    summary,
    unstack,
    vgg,
    wide_resnet,
)
from resnet.models.attention import CBAM, SqueezeExcitation
from resnet.models.layers import Dropout
from resnet.models.normalizer_free import GAINS, StandardizedConv2D
from tests.test_models import gradients, trainable

FIXUP = {"residual": "fixup", "norm": "none"}
NORMALIZER_FREE = {"residual": "normalizer_free", "norm": "none", "shortcut": "pooled"}
WHITENABLE = {"stem_filters": 24, "stem_size": 2, "stem_norm": False}
RS = {"stem": "deep_strided", "shortcut": "pooled", "attention": "se", "attention_reduction": 4}


@pytest.mark.parametrize(
    ("family", "options", "parameters"),
    [
        (wide_resnet, {"depth": 28, "width": 10}, 36_479_194),
        (wide_resnet, {"depth": 40, "width": 4}, 8_949_210),
        (wide_resnet, {"depth": 16, "width": 8}, 10_961_370),
        (resnext, {"depth": 29}, 34_426_698),
        (resnext, {"depth": 29, "cardinality": 16}, 68_155_210),
        (resnet_v1, {"depth": 20, "shortcut": "identity", "conv_bias": False, **FIXUP}, 268_393),
        (resnet_imagenet, {"depth": 18, "version": 2, "stem": "cifar"}, 11_172_170),
        (resnet_imagenet, {"depth": 34, "version": 2, "stem": "cifar"}, 21_280_330),
        (densenet, {"depth": 40, "bottleneck": False, "compression": 1.0}, 1_019_722),
        (densenet, {"depth": 100}, 769_162),
        (resnet9, {}, 6_573_120),
    ],
)
def test_parameters_for_cifar_are_the_published(family, options, parameters):
    assert trainable(family((32, 32, 3), 10, **options)) == parameters


@pytest.mark.parametrize(
    ("family", "options", "parameters"),
    [
        (resnet_imagenet, {"cardinality": 32, "group_width": 4}, 25_028_904),
        (resnet_imagenet, {"stem": "deep", "shortcut": "pooled"}, 25_576_264),
        (resnet_imagenet, {"attention": "se"}, 28_088_024),
        (resnet_imagenet, {"attention": "cbam"}, 28_089_592),
        (resnet_imagenet, RS, 35_691_912),
        (resnet_imagenet, {"version": 2, "conv_bias": True, **NORMALIZER_FREE}, 25_557_032 + 16),
        (densenet_imagenet, {}, 7_978_856),
        (convnext, {"size": "tiny"}, 28_589_128),
        (convnext, {"size": "small"}, 50_223_688),
        (convnext, {"size": "base"}, 88_591_464),
    ],
)
def test_parameters_for_imagenet_are_the_published(family, options, parameters):
    assert trainable(family((64, 64, 3), 1000, **options)) == parameters


@pytest.mark.parametrize(
    ("size", "millions"), [("atto", 3.70), ("femto", 5.22), ("pico", 9.05), ("nano", 15.59)]
)
def test_small_convnexts_are_timms(size, millions):
    assert round(trainable(convnext((64, 64, 3), 1000, size=size)) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("family", "options", "millions"),
    [
        (highway, {}, 2.3),
        (revnet, {}, 0.46),
        (revnet, {"depth": 110, "filters": (32, 64, 128)}, 1.73),
        (resnet_v1, {"depth": 110, "shortcut": "identity", "conv_bias": False, **FIXUP}, 1.72),
    ],
)
def test_parameters_in_the_papers_digits(family, options, millions):
    digits = len(str(millions).partition(".")[2])
    assert round(trainable(family((32, 32, 3), 10, **options)) / 1e6, digits) == millions


def test_the_filters_of_v2_widen():
    wide = resnet_v2((32, 32, 3), 10, depth=11, filters=(32, 64, 128), out_filters=(128, 256, 512))
    assert [wide.get_layer(f"stage{i}_block1_conv3").filters for i in (1, 2, 3)] == [128, 256, 512]


NETWORKS = {
    "wide": (wide_resnet, {"depth": 22, "width": 2, "dropout": 0.3}),
    "resnext": (resnext, {"depth": 29, "cardinality": 4, "group_width": 2}),
    "se": (resnet_v1, {"depth": 20, "attention": "se", "attention_reduction": 4}),
    "cbam": (resnet_v2, {"depth": 29, "attention": "cbam"}),
    "group norm": (resnet_v1, {"depth": 20, "norm": "group", "activation": "gelu"}),
    "layer norm": (resnet_v2, {"depth": 29, "norm": "layer", "activation": "silu"}),
    "no norm": (resnet_v1, {"depth": 20, "norm": "none", "residual": "rezero"}),
    "fixup": (resnet_v1, {"depth": 20, "shortcut": "identity", **FIXUP}),
    "normalizer free": (wide_resnet, {"depth": 22, "width": 1, **NORMALIZER_FREE}),
    "highway": (highway, {"filters": (8, 8, 12, 16), "layers": (3, 3, 3, 1)}),
    "revnet": (revnet, {"depth": 26, "filters": (8, 12, 16)}),
    "convnext": (convnext, {"size": "atto", "patch": 2}),
}
UNLOOPED = {
    "resnet-rs": (resnet_imagenet, {"depth": 50, **RS}),
    "densenet": (densenet, {"depth": 22, "dropout": 0.2}),
    "vgg": (vgg, {"depth": 11, "norm": "none", "activation": "silu"}),
    "resnet9": (
        resnet9,
        {
            "filters": (8, 12, 12),
            "branches": (1, 0, 2),
            "stem_filters": 24,
            "stem_size": 2,
            "stem_norm": False,
        },
    ),
}
SLOW = ("layer norm", "fixup", "highway", "resnet-rs", "vgg")
SHAPE = (12, 12, 3)  # of `gradients`


def built(name, **options):
    """With the factors of branches, which begin at 0, at a value that lets them count; and FixUp's zeros."""
    keras.utils.set_random_seed(1)
    options = {"recompute": False} | options if name in NETWORKS else options
    family, own = (NETWORKS | UNLOOPED)[name]
    model = family(SHAPE, 5, **own, **options)
    factors = {w: np.full_like(v, 0.3) for w, v in unstack(model).items() if w.endswith("factor")}
    random = np.random.default_rng(2)
    zeros = {
        w: random.normal(0, 0.1, v.shape)
        for w, v in unstack(model).items()
        if w.endswith("kernel") and not v.any()
    }
    stack(model, unstack(model) | factors | zeros)
    return model


@functools.cache
def unrolled(name):
    """Weights, logits and gradients of a step, and the weights after it: what every form is compared with."""
    model = built(name, stage="unrolled")
    return unstack(model), *gradients(model), unstack(model)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["written out", "recomputed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_looped_computes_what_unrolled_does(name, form, monkeypatch):
    if form == "recomputed":
        monkeypatch.setattr(repeat, "FEW_BLOCKS", 0)
    looped = built(name, recompute=form == "recomputed")
    assert any(isinstance(layer, repeat.Repeat) for layer in looped.layers)
    weights, logits, expected, moved = unrolled(name)
    stack(looped, weights)
    found = gradients(looped)
    np.testing.assert_allclose(found[0], logits, rtol=1e-4, atol=1e-4 * np.abs(logits).max())
    for weight, gradient in expected.items():
        atol = 2e-4 * np.abs(gradient).max() + 1e-6
        np.testing.assert_allclose(found[1][weight], gradient, rtol=1e-3, atol=atol, err_msg=weight)
    after = unstack(looped)
    for weight in moved:
        np.testing.assert_allclose(after[weight], moved[weight], rtol=1e-4, atol=1e-5, err_msg=weight)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in [*NETWORKS, *UNLOOPED]],
)
def test_in_bfloat16_drawn_and_saved(name, tmp_path):
    """Near its float32 logits, one picture for both forms, and the same when it is loaded again."""
    images = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype("float32")
    model = built(name)
    expected = model(images).numpy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = built(name)
    finally:
        keras.config.set_dtype_policy("float32")
    stack(half, unstack(model))
    logits = half(images)
    assert logits.dtype == "float32"
    assert half.layers[1].compute_dtype == "bfloat16"
    np.testing.assert_allclose(logits, expected, atol=0.1 * np.abs(expected).max())

    svg = architecture.svg(model)
    ElementTree.fromstring(svg)
    assert name not in NETWORKS or architecture.svg(built(name, stage="unrolled")).split("</title>")[1].count(
        "<rect"
    ) == svg.count("<rect")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(images), model(images))
    assert summary(again) == summary(model)


def dense(x, kernel, bias):
    return np.maximum(x @ kernel[0] + bias[0], 0) @ kernel[1] + bias[1]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("kind", [SqueezeExcitation, CBAM])
def test_attention_is_the_papers(kind):
    """By NumPy: C / reduction hidden units; the weight of pixels is a 7x7 convolution with zeros around."""
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 5, 6, 8)).astype("float32")
    layer = kind(reduction=4)
    layer.build(x.shape)
    weights = [random.normal(size=v.shape).astype("float32") for v in layer.weights]
    layer.set_weights(weights)
    kernels, biases = weights[0:4:2], weights[1:4:2]
    assert kernels[0].shape == (8, 2)
    logits = dense(x.mean((1, 2)), kernels, biases)
    if kind is CBAM:
        logits += dense(x.max((1, 2)), kernels, biases)
    expected = x * sigmoid(logits)[:, None, None]
    if kind is CBAM:
        both = np.pad(np.stack([expected.mean(-1), expected.max(-1)], -1), [(0, 0), (3, 3), (3, 3), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(both, (7, 7), (1, 2))
        expected *= sigmoid(np.einsum("nhwcij,ijco->nhwo", windows, weights[4]))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_dropout_keeps_the_mean_and_draws_anew():
    layer, x = Dropout(0.25), np.ones((4, 50, 50, 8), "float32")
    first, second = layer(x, training=True).numpy(), layer(x, training=True).numpy()
    assert set(np.unique(first)) == {0, np.float32(1 / 0.75)}
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert ((first == 0) & (second == 0)).mean() == pytest.approx(0.25**2, abs=0.01)
    np.testing.assert_array_equal(layer(x), x)


def test_blocks_of_a_loop_drop_units_of_their_own():
    model = wide_resnet((8, 8, 3), 5, depth=22, width=1, dropout=0.5)
    states = np.array(next(v for v in model.variables if v.path.endswith("dropout_state")))
    assert states.shape == (3, 2) and len(np.unique(states)) == 6
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    assert not np.array_equal(model(images, training=True), model(images, training=True))


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_norms_are_of_one_image(norm):
    """What else is in a batch changes nothing, in training too; and the moments are those of its groups."""
    model = resnet_v1((8, 8, 3), 5, depth=8, norm=norm, bn_epsilon=1e-6)
    images = tf.constant(np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype("float32"))
    np.testing.assert_allclose(model(images, training=True)[:2], model(images[:2]), rtol=1e-4, atol=1e-5)
    name = {"group": "stem_gn", "layer": "stem_ln"}[norm]
    normed = keras.Model(model.input, model.get_layer(name).output)(images).numpy()
    axes = {"group": (1, 2), "layer": -1}[norm]  # 16 channels are 16 groups
    np.testing.assert_allclose(normed.mean(axes), 0, atol=1e-4)
    np.testing.assert_allclose(normed.std(axes), 1, atol=1e-3)


@pytest.mark.parametrize(("family", "depth", "filters"), [(resnet_v1, 20, 32), (resnet_v2, 29, 128)])
@pytest.mark.parametrize(
    "options",
    [
        {"residual": "rezero"},
        {"residual": "zero_init"},
        {"residual": "zero_init", "norm": "none"},
        {"residual": "fixup", "norm": "none"},
    ],
    ids=str,
)
def test_blocks_start_as_their_shortcuts(family, depth, filters, options):
    model = family((8, 8, 3), 5, depth=depth, **options)
    x = tf.abs(tf.random.normal([2, 4, 4, filters]))
    np.testing.assert_array_equal(model.get_layer("stage2_blocks2-3")(x), x)


def test_fixup_starts_with_small_branches():
    """Zhang et al. 2019, section 3: He's weights times L^(-1/(2m-2)), then zeros; the head begins at 0."""
    weights = unstack(resnet_v2((8, 8, 3), 5, depth=56, filters=(64, 64, 64), **FIXUP))
    for number in (1, 2):
        kernel = weights[f"stage2_block3_conv{number}/kernel"]
        he = (2 / np.prod(kernel.shape[:3])) ** 0.5
        assert kernel.std() == pytest.approx(he * 18 ** (-1 / 4), rel=0.05)
    assert not weights["stage2_block3_conv3/kernel"].any() and not weights["logits/kernel"].any()


def convolved(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME").numpy()


def test_fixup_block_is_the_papers():
    """Figure 1 there, right: a number added before each layer, and one that multiplies the branch."""
    model = resnet_v1((8, 8, 3), 5, depth=8, conv_bias=False, **FIXUP)
    random, x = (
        np.random.default_rng(0),
        np.random.default_rng(1).normal(size=(2, 8, 8, 16)).astype("float32"),
    )
    weights = {name: random.normal(size=v.shape).astype("float32") for name, v in unstack(model).items()}
    stack(model, weights)
    before, bias, between, after, scale = (
        weights[f"stage1_block1_{name}"]
        for name in (
            "conv1_shift/shift",
            "relu1_shift/shift",
            "conv2_shift/shift",
            "relu2_shift/shift",
            "scale/factor",
        )
    )
    kernels = [weights[f"stage1_block1_conv{i}/kernel"] for i in (1, 2)]
    y = np.maximum(convolved(x + before, kernels[0]) + bias, 0)
    expected = np.maximum(x + convolved(y + between, kernels[1]) * scale + after, 0)
    block = keras.Model(model.get_layer("stem_relu").output, model.get_layer("stage1_block1_relu2").output)
    np.testing.assert_allclose(block(x), expected, rtol=1e-4, atol=1e-3)


def test_weights_are_standardized():
    """By NumPy: filters of mean 0 and variance 1/n, times their gain and that of a ReLU."""
    layer = StandardizedConv2D(6, 3, groups=2, gain_of_activation=GAINS["relu"])
    layer.build((None, 8, 8, 8))
    random = np.random.default_rng(0)
    weights = [random.normal(0.3, 0.1, v.shape).astype("float32") for v in layer.weights]
    layer.set_weights(weights)
    filters = weights[0].reshape(-1, 6)
    gain = dict(zip([v.name for v in layer.weights], weights, strict=True))["gain"]
    expected = gain * (filters - filters.mean(0)) / (filters.std(0) * 36**0.5) * (2 / (1 - 1 / np.pi)) ** 0.5
    np.testing.assert_allclose(layer.standardized(), expected.reshape(3, 3, 4, 6), rtol=1e-3, atol=1e-5)


def test_normalizer_free_signals_have_the_expected_variance():
    """Brock et al. 2021, section 3: each branch, once it counts, adds alpha squared; a projection gives 1."""
    keras.utils.set_random_seed(2)
    options = NORMALIZER_FREE | {"shortcut": "projection_bn", "alpha": 0.5}
    model = wide_resnet((32, 32, 3), 5, depth=22, width=4, stage="unrolled", **options)
    weights = unstack(model)
    stack(model, {name: np.ones_like(v) if name.endswith("factor") else v for name, v in weights.items()})
    blocks = [f"stage{stage}_block{i}_add" for stage in (1, 2, 3) for i in (1, 2, 3)]
    outputs = keras.Model(model.input, [model.get_layer(name).output for name in blocks])
    x = np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype("float32")
    found = [np.var(y, (0, 1, 2)).mean() for y in outputs(x)]
    np.testing.assert_allclose(found, [1.25, 1.5, 1.75] * 3, rtol=0.25)  # zeros around images take some
    looped = unstack(wide_resnet((32, 32, 3), 5, depth=22, width=4, **options))
    deviations = [name for name in weights if name.endswith("deviation")]
    expected = [1, 1.25, 1.5, 1.75, 1.25, 1.5, 1.75, 1.25, 1.5]
    for array in (weights, looped):
        np.testing.assert_allclose([array[name][0] ** 2 for name in deviations], expected, rtol=1e-6)


def test_revnet_finds_its_activations_from_its_output():
    """The gradients are those of a loop that keeps them, up to rounding."""
    kept, inverted = built("revnet"), built("revnet", recompute=True)
    stack(inverted, unstack(kept))
    expected, found = gradients(kept), gradients(inverted)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-5)
    for weight, gradient in expected[1].items():
        atol = 1e-3 * np.abs(gradient).max()
        np.testing.assert_allclose(found[1][weight], gradient, rtol=1e-3, atol=atol, err_msg=weight)


def test_resnet_d_pools_before_it_projects():
    model = resnet_v1((8, 8, 3), 5, depth=8, shortcut="pooled", l2=0.0)
    assert model.get_layer("stage2_block1_shortcut_pool").output.shape == (None, 4, 4, 16)
    assert model.get_layer("stage2_block1_shortcut").strides == (1, 1)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: wide_resnet((8, 8, 3), 5, depth=20), "depth is 6n\\+4; nearest: 16 and 22"),
        (lambda: densenet((8, 8, 3), 5, depth=99), "depth is 6n\\+4; nearest: 94 and 100"),
        (lambda: densenet((8, 8, 3), 5, depth=41, bottleneck=False), "3n\\+4; nearest: 40 and 43"),
        (lambda: resnet_imagenet((8, 8, 3), 5, 18, cardinality=32), "cardinality .* bottlenecks"),
        (lambda: resnet_v1((8, 8, 3), 5, norm="instance"), "norm is batch or group"),
        (lambda: resnet_v1((8, 8, 3), 5, attention="eca"), "attention is none or se"),
        (lambda: convnext((8, 8, 3), 5, size="huge"), "size is atto or"),
        (lambda: resnet9((32, 32, 3), 5, branches=(1, 1)), "3 stages have filters, and 2 have a branch"),
        (lambda: resnet9((32, 32, 3), 5, shortcut="projection"), "shortcut is identity or none"),
        (lambda: resnet9((7, 8, 3), 5), "3 stages, .* are too many"),
        (lambda: resnet_v1((8, 8, 3), 5, residual="fixup"), "residual=fixup needs norm=none"),
        (lambda: resnext((8, 8, 3), 5, **NORMALIZER_FREE), "normalizer_free needs pre-activation"),
        (lambda: wide_resnet((8, 8, 3), 5, residual="lesioned"), "residual is standard or"),
    ],
)
def test_impossible_options(build, words):
    with pytest.raises(ValueError, match=words):
        build()
