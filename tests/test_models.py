from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet.models import resnet_v1, resnet_v2, stack, unstack


@pytest.mark.parametrize(
    ("family", "depth", "parameters"),
    [
        (resnet_v1, 20, 274_442),
        (resnet_v1, 110, 1_742_762),
        (resnet_v2, 110, 3_323_210),
        (resnet_v2, 164, 4_972_682),
        (resnet_v2, 1001, 30_539_498),
    ],
)
def test_parameters_are_the_keras_examples(family, depth, parameters):
    assert family((32, 32, 3), 10, depth=depth).count_params() == parameters


@pytest.mark.parametrize(("family", "depth"), [(resnet_v1, 20), (resnet_v2, 29)])
def test_unrolled_has_the_parameters_of_looped(family, depth):
    looped, unrolled = (family((32, 32, 3), 10, depth=depth, stage=s) for s in ("looped", "unrolled"))
    shapes = [{name: w.shape for name, w in unstack(model).items()} for model in (looped, unrolled)]
    assert shapes[0] == shapes[1]
    assert len(looped.variables) < len(unrolled.variables)


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (56, 853_018)])
def test_trainable_parameters_are_the_papers(depth, parameters):
    model = resnet_v1((32, 32, 3), 10, depth=depth, shortcut="identity", conv_bias=False)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == parameters


@pytest.mark.parametrize("family", [resnet_v1, resnet_v2])
@pytest.mark.parametrize("shortcut", ["projection", "identity"])
@pytest.mark.parametrize("shape", [(29, 35, 1), (8, 8, 4)])
def test_odd_inputs(family, shortcut, shape):
    model = family(shape, 7, depth=11 if family is resnet_v2 else 8, shortcut=shortcut)
    assert model(np.zeros((2, *shape), np.float32)).shape == (2, 7)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("family", "depth"), [(resnet_v1, 26), (resnet_v2, 38)])
def test_looped_computes_what_unrolled_does(family, depth, recompute):
    keras.utils.set_random_seed(1)
    looped = family((12, 12, 3), 5, depth=depth, stage="looped", recompute=recompute)
    unrolled = family((12, 12, 3), 5, depth=depth, stage="unrolled")
    stack(unrolled, unstack(looped))
    found, expected = gradients(looped), gradients(unrolled)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-5)
    for name in expected[1]:
        scale = np.abs(expected[1][name]).max()
        np.testing.assert_allclose(
            found[1][name], expected[1][name], rtol=1e-4, atol=1e-4 * scale, err_msg=name
        )
    for name, moved in unstack(unrolled).items():
        np.testing.assert_allclose(unstack(looped)[name], moved, rtol=1e-4, atol=1e-5, err_msg=name)


def gradients(model):
    """Logits in training, and the gradient of every weight by its block's name."""
    images = tf.constant(np.random.default_rng(0).normal(size=(8, 12, 12, 3)).astype("float32"))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.square(logits)) + tf.add_n(model.losses)
        return logits, tape.gradient(loss, model.trainable_variables)

    logits, values = step()
    like = keras.models.clone_model(model)
    for variable, value in zip(like.trainable_variables, values, strict=True):
        variable.assign(value)
    return logits, {name: w for name, w in unstack(like).items() if "moving" not in name}


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

    assert operations(56) == operations(299)


def test_blocks_start_from_the_same_distribution():
    """He-normal for every block: deviation sqrt(2 / fan-in), and no two blocks alike."""
    kernels = unstack(resnet_v1((32, 32, 3), 10, depth=110))
    kernels = {name: w for name, w in kernels.items() if name.endswith("conv2/kernel")}
    for kernel in kernels.values():
        assert kernel.std() == pytest.approx((2 / (9 * kernel.shape[2])) ** 0.5, rel=0.1)
    assert len({kernel.tobytes() for kernel in kernels.values()}) == len(kernels) == 54


@pytest.mark.parametrize("stage", ["looped", "unrolled"])
def test_stochastic_depth_drops_blocks(stage):
    """Blocks of survival near 0 are their shortcut in training; in inference they count by their chance."""
    options = {"depth": 38, "stage": stage, "l2": 0.0}
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
    assert sum(moved[f"stage3_block{i}_bn2/moving_mean"] for i in (2, 3, 4)) < 3 or stage == "unrolled"


def test_zero_init_starts_as_the_shortcuts():
    """Without its branches a v2 stage of equal blocks passes its input through."""
    model = resnet_v2((8, 8, 3), 5, depth=38, zero_init=True)
    stage = model.get_layer("stage2_blocks2-4")
    x = tf.random.normal([2, 4, 4, 128])
    np.testing.assert_array_equal(stage(x, training=True), x)


@pytest.mark.parametrize(("family", "depth"), [(resnet_v1, 21), (resnet_v2, 111), (resnet_v1, 2)])
def test_impossible_depth(family, depth):
    with pytest.raises(ValueError, match="n\\+2"):
        family((32, 32, 3), 10, depth=depth)


@pytest.mark.parametrize("stage", ["looped", "unrolled"])
def test_saved_model_loads_in_safe_mode(stage, tmp_path):
    model = resnet_v2((16, 16, 3), 10, depth=29, shortcut="identity", stage=stage)
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(model(images), again(images))
