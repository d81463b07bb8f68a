import functools
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet.models import (
    plain,
    plain_imagenet,
    repeat,
    resnet_imagenet,
    resnet_v1,
    resnet_v2,
    stack,
    summary,
    unstack,
    vgg,
)

PAPER_V2 = {"filters": (16, 32, 64), "shortcut": "projection_bn", "conv_bias": False}


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize(
    ("family", "depth", "parameters"),
    [
        (resnet_v1, 20, 274_442),
        (resnet_v1, 110, 1_742_762),
        (resnet_v2, 110, 3_323_210),
        (resnet_v2, 164, 4_972_682),
        (resnet_v2, 1001, 30_539_498),
        (plain, 20, 271_786),
        (plain, 56, 859_114),
    ],
)
def test_parameters_are_the_keras_examples(family, depth, parameters):
    assert family((32, 32, 3), 10, depth=depth).count_params() == parameters


@pytest.mark.parametrize(
    ("family", "depth", "options", "parameters"),
    [
        (resnet_v1, 20, {"shortcut": "identity", "conv_bias": False}, 269_722),
        (resnet_v1, 56, {"shortcut": "identity", "conv_bias": False}, 853_018),
        (plain, 56, {"conv_bias": False}, 853_018),
        (resnet_v2, 164, PAPER_V2, 1_703_258),
        (resnet_v2, 1001, PAPER_V2, 10_327_706),
    ],
)
def test_trainable_parameters_are_the_papers(family, depth, options, parameters):
    assert trainable(family((32, 32, 3), 10, depth=depth, **options)) == parameters


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (101, 44_549_160),
        (152, 60_192_808),
        (200, 64_673_832),
    ],
)
def test_imagenet_parameters_are_the_published(depth, parameters):
    assert trainable(resnet_imagenet((224, 224, 3), 1000, depth)) == parameters


def test_resnet18_for_cifar():
    model = resnet_imagenet((32, 32, 3), 10, 18, stem="cifar")
    assert trainable(model) == 11_173_962
    assert model.get_layer("pool").input.shape == (None, 4, 4, 512)


@pytest.mark.parametrize(("family", "depth", "last"), [(resnet_v1, 8, 2), (resnet_v2, 11, 3), (plain, 8, 2)])
def test_strides_are_of_the_stem_and_of_the_stages(family, depth, last):
    model = family((48, 48, 3), 10, depth=depth, strides=(2, 1, 3, 4))
    names = ["stem_conv", *(f"stage{i}_block1_conv{last}" for i in (1, 2, 3))]
    assert [model.get_layer(name).output.shape[1] for name in names] == [24, 24, 8, 2]


def test_a_plain_network_has_the_parameters_of_one_with_identity_shortcuts():
    residual = resnet_imagenet((224, 224, 3), 1000, 34, shortcut="identity")
    assert trainable(plain_imagenet((224, 224, 3), 1000)) == trainable(residual) == 21_623_848


@pytest.mark.parametrize(
    ("depth", "cifar", "imagenet"),
    [
        (11, 9_231_114, 132_863_336),
        (13, 9_416_010, 133_047_848),
        (16, 14_728_266, 138_357_544),
        (19, 20_040_522, 143_667_240),
    ],
)
def test_vgg_parameters_are_the_published(depth, cifar, imagenet):
    assert trainable(vgg((32, 32, 3), 10, depth)) == cifar
    assert trainable(vgg((224, 224, 3), 1000, depth, head="imagenet", norm="none")) == imagenet


@pytest.mark.parametrize(("family", "depth"), [(plain, 20), (resnet_v1, 20), (resnet_v2, 29)])
def test_unrolled_has_the_parameters_of_looped(family, depth):
    looped, unrolled = (family((32, 32, 3), 10, depth=depth, stage=s) for s in ("looped", "unrolled"))
    shapes = [{name: w.shape for name, w in unstack(model).items()} for model in (looped, unrolled)]
    assert shapes[0] == shapes[1]
    assert len(looped.variables) < len(unrolled.variables)


@pytest.mark.parametrize("family", [resnet_v1, resnet_v2])
@pytest.mark.parametrize("shortcut", ["projection", "projection_bn", "identity"])
@pytest.mark.parametrize("shape", [(29, 35, 1), (8, 8, 4)])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_odd_inputs(family, shortcut, shape, padding):
    model = family(shape, 7, depth=11 if family is resnet_v2 else 8, shortcut=shortcut, padding=padding)
    assert model(np.zeros((2, *shape), np.float32)).shape == (2, 7)


@pytest.mark.parametrize("build", [vgg, plain_imagenet, resnet_imagenet])
def test_odd_inputs_of_the_imagenet_networks(build):
    assert build((29, 35, 1), 7)(np.zeros((2, 29, 35, 1), np.float32)).shape == (2, 7)


@pytest.fixture(params=["written out", "in a loop", "recomputed"])
def looped(request, monkeypatch):
    """A model's options for each of the ways to run a looped stage, few blocks also as many would be."""
    return run_as(request.param, monkeypatch)


def run_as(form, monkeypatch):
    if form == "in a loop":
        monkeypatch.setattr(repeat, "FEW_BLOCKS", 0)
    return {"stage": "unrolled" if form == "unrolled" else "looped", "recompute": form == "recomputed"}


@functools.cache
def unrolled(family, depth):
    """Weights, logits and gradients of a step, and the weights after it: what every form is compared with."""
    keras.utils.set_random_seed(1)
    model = family((12, 12, 3), 5, depth=depth, stage="unrolled")
    return unstack(model), *gradients(model), unstack(model)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "depth"), [(plain, 26), (resnet_v1, 26), (resnet_v2, 38)])
def test_looped_computes_what_unrolled_does(family, depth, looped):
    looped = family((12, 12, 3), 5, depth=depth, **looped)
    weights, logits, expected, moved = unrolled(family, depth)
    stack(looped, weights)
    found = gradients(looped)
    np.testing.assert_allclose(found[0], logits, rtol=1e-4, atol=1e-5)
    for name in expected:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[1][name], expected[name], rtol=1e-4, atol=1e-4 * scale, err_msg=name)
    after = unstack(looped)
    for name in moved:
        np.testing.assert_allclose(after[name], moved[name], rtol=1e-4, atol=1e-5, err_msg=name)


@tf.function
def step(model, images):
    """Logits in training, and the gradients of the trained weights."""
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(tf.square(logits)) + tf.add_n(model.losses or [0.0])
    return logits, tape.gradient(loss, model.trainable_variables)


def gradients(model):
    """Logits in training, and the gradient of every weight by its block's name."""
    images = tf.constant(np.random.default_rng(0).normal(size=(8, 12, 12, 3)).astype("float32"))

    logits, values = step(model, images)
    of = {id(v): np.array(value) for v, value in zip(model.trainable_variables, values, strict=True)}
    return logits, unstack(model, lambda variable: of.get(id(variable)))


@pytest.fixture
def bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.slow
def test_looped_computes_what_unrolled_does_in_bfloat16(bfloat16, looped):
    """Logits, loss and the direction of the gradient; the weights and the logits stay float32."""
    keras.utils.set_random_seed(1)
    looped = resnet_v2((12, 12, 3), 5, depth=38, **looped)
    unrolled = resnet_v2((12, 12, 3), 5, depth=38, stage="unrolled")
    assert looped.get_layer("stage1_blocks2-4").compute_dtype == "bfloat16"
    stack(unrolled, unstack(looped))
    found, expected = gradients(looped), gradients(unrolled)
    assert found[0].dtype == "float32"
    assert {v.dtype for v in looped.trainable_variables} == {"float32"}
    np.testing.assert_allclose(found[0], expected[0], atol=0.02 * np.abs(expected[0]).max())
    flat = [np.concatenate([g[name].ravel() for name in expected[1]]) for g in (found[1], expected[1])]
    assert np.dot(*flat) > 0.99 * np.linalg.norm(flat[0]) * np.linalg.norm(flat[1])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["written out", "in a loop", "recomputed", "unrolled"])
def test_two_replicas_train_as_two_batches(two_replicas, form, monkeypatch):
    """One step on two replicas: the gradient's mean moves the weights, the statistics are averaged."""
    options = run_as(form, monkeypatch)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 8, 3)).astype("float32")

    def loss_of(model, batch):
        return tf.reduce_mean(tf.square(model(batch, training=True)))

    with two_replicas.scope():
        model = resnet_v1((8, 8, 3), 5, depth=20, **options)
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.build(model.trainable_variables)
    before = unstack(model)

    @tf.function
    def step():
        def replica_step():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            with tf.GradientTape() as tape:
                loss = loss_of(model, tf.constant(images)[replica]) / 2
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        two_replicas.run(replica_step)

    step()
    halves = []
    for batch in images:
        single = resnet_v1((8, 8, 3), 5, depth=20)
        stack(single, before)
        optimizer = keras.optimizers.SGD(1.0)
        with tf.GradientTape() as tape:
            loss = loss_of(single, batch)
        gradients = tape.gradient(loss, single.trainable_variables)
        optimizer.apply(gradients, single.trainable_variables)
        halves.append(unstack(single))
    for name, after in unstack(model).items():
        expected = (halves[0][name] + halves[1][name]) / 2
        np.testing.assert_allclose(after, expected, rtol=1e-3, atol=1e-4, err_msg=name)
        assert name.endswith("bias") or not np.array_equal(after, before[name])


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_graph_does_not_grow_with_depth(recompute):
    def operations(depth):
        model = resnet_v2((8, 8, 3), 10, depth=depth, recompute=recompute)

        @tf.function
        def step(images):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(model(images, training=True)) + tf.add_n(model.losses)
            return tape.gradient(loss, model.trainable_variables)

        graph = step.get_concrete_function(tf.TensorSpec([4, 8, 8, 3])).graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        # Zeros are one Const while they are few, and Consts with a Fill when they are many.
        return Counter(node.op for node in nodes if node.op not in ("Const", "Fill"))

    assert operations(128) == operations(299)


def test_blocks_start_from_the_same_distribution():
    """He-normal for every block: deviation sqrt(2 / fan-in), and no two blocks alike."""
    kernels = unstack(resnet_v1((32, 32, 3), 10, depth=110))
    kernels = {name: w for name, w in kernels.items() if name.endswith("conv2/kernel")}
    for kernel in kernels.values():
        assert kernel.std() == pytest.approx((2 / (9 * kernel.shape[2])) ** 0.5, rel=0.1)
    assert len({kernel.tobytes() for kernel in kernels.values()}) == len(kernels) == 54


@pytest.mark.parametrize("form", ["written out", "in a loop", "unrolled"])
def test_stochastic_depth_drops_blocks(form, monkeypatch):
    """Blocks of survival near 0 are their shortcut in training; in inference they count by their chance."""
    options = {"depth": 38, "l2": 0.0, **run_as(form, monkeypatch)}
    keras.utils.set_random_seed(1)
    model = resnet_v2((8, 8, 3), 5, survival=1e-6, **options)
    plain = resnet_v2((8, 8, 3), 5, **options)
    stack(plain, unstack(model))
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    before = unstack(model)
    outputs = [model(images, training=True).numpy() for _ in range(12)]
    assert len({output.tobytes() for output in outputs}) > 6
    assert not np.allclose(plain(images), model(images))
    moved = {name: not np.array_equal(w, before[name]) for name, w in unstack(model).items()}
    assert moved["stage1_block2_bn2/moving_mean"]
    assert sum(moved[f"stage3_block{i}_bn2/moving_mean"] for i in (2, 3, 4)) < 3 or form == "unrolled"


def test_zero_init_starts_as_the_shortcuts():
    """Without its branches a v2 stage of equal blocks passes its input through."""
    model = resnet_v2((8, 8, 3), 5, depth=38, residual="zero_init")
    stage = model.get_layer("stage2_blocks2-4")
    x = tf.random.normal([2, 4, 4, 128])
    np.testing.assert_array_equal(stage(x, training=True), x)


@pytest.mark.parametrize(("family", "depth"), [(resnet_v1, 21), (resnet_v2, 111), (resnet_v1, 2), (plain, 9)])
def test_impossible_depth(family, depth):
    with pytest.raises(ValueError, match="n\\+2"):
        family((32, 32, 3), 10, depth=depth)


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (resnet_imagenet, {"depth": 20}),
        (plain_imagenet, {"depth": 50}),
        (vgg, {"depth": 12}),
        (vgg, {"head": "mnist"}),
        (resnet_v1, {"shortcut": "option A"}),
        (resnet_v1, {"padding": "valid"}),
        (resnet_v1, {"shortcut": "none", "residual": "zero_init"}),
        (resnet_v2, {"stage": "unrolled", "recompute": True}),
        (resnet_v1, {"num_classes": 1}),
    ],
)
def test_impossible_options(build, options):
    with pytest.raises(ValueError):
        build((32, 32, 3), **{"num_classes": 10, **options})


@pytest.mark.parametrize(
    ("build", "name"),
    [(plain, "residual"), (resnet_v1, "strided_conv"), (vgg, "padding"), (plain_imagenet, "version")],
)
def test_options_of_other_networks(build, name):
    with pytest.raises(TypeError, match=f"{build.__name__}.* '{name}'"):
        build((32, 32, 3), 10, **{name: 1})


def test_summary_has_a_line_a_stage():
    for stage in ("looped", "unrolled"):
        model = resnet_v2((32, 32, 3), 10, depth=110, stage=stage)
        lines = [line.split() for line in summary(model).splitlines()]
        stages = [line for line in lines if line[0].startswith("stage")]
        assert [line[:2] for line in stages] == [["stage1", "12"], ["stage2", "12"], ["stage3", "12"]]
        parameters = sum(int(line[-1].replace(",", "")) for line in lines[2:-1])
        assert parameters == model.count_params()
        assert stages[1][2:-2] == ["16", "x", "16", "x", "128"]


@pytest.mark.parametrize(
    ("family", "depth", "options"),
    [
        (resnet_v2, 29, {"stage": "looped", "recompute": True}),
        (resnet_v2, 29, {"stage": "unrolled", "shortcut": "identity"}),
        (resnet_v1, 20, {"survival": 0.5, "shortcut": "identity"}),
        (plain, 20, {"padding": "symmetric"}),
    ],
)
def test_saved_model_loads_in_safe_mode(family, depth, options, tmp_path):
    model = family((16, 16, 3), 10, depth=depth, **options)
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(model(images), again(images))
    assert summary(again) == summary(model)
    flags = [[getattr(layer, "recompute", None) for layer in m.layers] for m in (again, model)]
    assert flags[0] == flags[1]
