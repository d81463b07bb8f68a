"""Each picture's numbers against a case whose answer is known."""

import io
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage
from scipy.special import softmax
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client

import resnet
from resnet.data import Preprocessing, digits
from resnet.data.dataset import Split
from resnet.errors import ConfigError, UserError
from resnet.models import plain, resnet_v1, stack, unstack
from resnet.models.cutting import cut
from resnet.report.explain import (
    calibration,
    features,
    grad_cam,
    gradients,
    landscape,
    robustness,
    similarity,
    trajectory,
)
from resnet.report.subject import Subject
from resnet.run.callbacks import Weights
from resnet.run.directory import RunDirectory
from resnet.run.trained import Trained
from tests.explanations import dataset, subject

RNG = np.random.default_rng(0)


def planted():
    """A network whose classes are the means of red and of green; its stem and its block pass all on."""
    x = inputs = keras.Input((8, 8, 3))
    for name in ("stem_conv", "stage1_block1_conv1"):
        x = keras.layers.Conv2D(3, 1, use_bias=False, name=name)(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, name="logits")(x))
    weights = unstack(model)
    for name, array in weights.items():
        weights[name] = np.eye(*array.shape[-2:], dtype=np.float32).reshape(array.shape)
    stack(model, weights)
    return model


def test_heat_maps_show_where_a_planted_feature_lies():
    images = np.zeros((2, 8, 8, 3), np.float32)
    images[:, 1:3, 5:8, 0] = 1.0
    images[:, 6:8, 0:2, 1] = 0.5
    red, green = images[0, ..., 0] > 0, images[0, ..., 1] > 0
    heat = grad_cam.grad_cam(cut(planted()), images, [0, 1])
    np.testing.assert_allclose(heat, [red, green], atol=1e-6)


def test_saliency_is_the_gradient_of_the_class():
    model = resnet_v1((16, 16, 3), 3, 14)
    x = RNG.normal(size=(4, 16, 16, 3)).astype(np.float32)
    found = grad_cam.saliency(cut(model), x, [0, 1, 2, 0])
    with tf.GradientTape() as tape:
        tape.watch(images := tf.constant(x))
        chosen = tf.reduce_sum(model(images, training=False) * tf.one_hot([0, 1, 2, 0], 3))
    expected = np.abs(tape.gradient(chosen, images)).max(-1)
    np.testing.assert_allclose(found, expected / expected.max((1, 2), keepdims=True), atol=1e-4)


@pytest.mark.parametrize("at", [2, 5, None])
def test_heat_maps_of_looped_stages_are_those_of_unrolled_ones(at):
    models = [resnet_v1((16, 16, 3), 3, 20, stage=stage) for stage in ("looped", "unrolled")]
    stack(models[1], unstack(models[0]))
    x = RNG.normal(size=(4, 16, 16, 3)).astype(np.float32)
    looped, unrolled = (grad_cam.grad_cam(cut(model), x, [0, 1, 2, 0], at) for model in models)
    np.testing.assert_allclose(looped, unrolled, atol=1e-3)


def test_the_temperature_of_labels_that_were_drawn_at_it():
    logits = RNG.normal(0, 3, (20_000, 5))
    for t in (0.5, 2.0):
        labels = np.array([RNG.choice(5, p=p) for p in softmax(logits / t, 1)])
        assert calibration.temperature(logits, labels) == pytest.approx(t, rel=0.05)


def test_reliability_by_hand():
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    filled = [
        r for r in calibration.reliability(probabilities, np.array([0, 0, 0, 1, 1, 0]), 10) if r["images"]
    ]
    found = [(row["images"], row["confidence"], row["accuracy"]) for row in filled]
    assert found == [(2, pytest.approx(0.6), 0.5), (4, pytest.approx(0.9), 0.75)]


def test_a_run_that_held_no_images_out_has_no_temperature(tmp_path):
    run = RunDirectory(tmp_path)
    bare = Subject(SimpleNamespace(model=SimpleNamespace(name="bare")), run=run)
    with pytest.raises(UserError, match=r"there is no predictions\.npz"):
        bare.logits_of("validation")
    np.savez(run.predictions, test_logits=np.zeros((2, 3), np.float16), test_label=np.zeros(2))
    with pytest.raises(UserError, match="held no validation images out"):
        bare.logits_of("validation")


def test_filters_of_a_direction_have_the_norms_of_the_networks():
    weights = unstack(resnet_v1((16, 16, 3), 3, 14))
    found = landscape.direction(weights, 0, 0)
    assert found.keys() == {name for name, array in weights.items() if array.ndim > 1}
    for name in found:
        array = weights[name]
        axes = tuple(range(array.ndim - 1))
        norms = [np.linalg.norm(a.reshape(-1, a.shape[-1]), axis=0) for a in (array, found[name])]
        np.testing.assert_allclose(norms[0], norms[1], rtol=1e-4)
        assert axes and abs(np.sum(array * found[name])) < 0.5 * np.sum(array**2)


def test_the_landscape_of_a_quadratic():
    """(w - t) squared, of one weight a filter: 2-D is the paraboloid itself, and the weights come back."""
    inputs = keras.Input((1, 1, 1))
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, name="stage1_block1_conv1")(inputs))
    model.layers[-1].kernel.assign([[3.0, -2.0]])
    weights = unstack(model)
    (name,) = weights
    directions = [{name: np.array([[3.0, 0.0]])}, {name: np.array([[0.0, 2.0]])}]
    at, beside = np.array([-1.0, 0.0, 0.5]), np.array([0.0, 2.0])
    target = np.array([2.0, 1.0])
    loss = lambda: float(np.sum((np.array(model.layers[-1].kernel)[0] - target) ** 2))  # noqa: E731
    found = landscape.losses(model, weights, directions, (at, beside), loss)
    expected = [[(3 + 3 * a - 2) ** 2 + (-2 + 2 * b - 1) ** 2 for b in beside] for a in at]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(model.layers[-1].kernel, [[3.0, -2.0]])


def test_a_path_on_a_plane_is_found_with_its_losses():
    """Five places on a plane of weight space: as far from each other on the picture as there."""
    inputs = keras.Input((1, 1, 1))
    model = keras.Model(inputs, keras.layers.Dense(6, use_bias=False, name="stage1_block1_conv1")(inputs))
    weights = unstack(model)
    ((name, end),) = weights.items()
    u, v = RNG.normal(size=(2, *end.shape))
    steps = np.array([[4.0, -1.0], [3.0, 0.5], [1.0, 1.0], [0.5, 0.3], [0.0, 0.0]])
    kept = {epoch: {name: (end + a * u + b * v).astype(np.float32)} for epoch, (a, b) in enumerate(steps)}
    path, directions, explained = trajectory.plane(weights, list(kept.values()))
    places = np.array([place[name].ravel() for place in kept.values()])
    between = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (path, places)]
    np.testing.assert_allclose(*between, rtol=1e-4, atol=1e-5)
    assert explained.sum() == pytest.approx(1, abs=1e-5) and explained[0] >= explained[1]
    for place, (a, b) in zip(kept.values(), path, strict=True):
        moved = end + a * directions[0][name] + b * directions[1][name]
        np.testing.assert_allclose(moved, place[name], atol=1e-5)


def test_a_trajectory_has_the_loss_of_every_epoch_and_leaves_the_network_alone():
    model, data = resnet_v1((16, 16, 3), 3, 14), dataset()
    network, before = subject(model), unstack(model)
    kept = {}
    for epoch, part in enumerate((0.2, 0.6, 1.0)):
        kept[epoch] = {n: (part * w).astype(w.dtype) if w.ndim > 1 else w for n, w in before.items()}
    kept[1] |= {n: w + 0.01 for n, w in kept[1].items() if "conv" in n}
    network.kept_weights = lambda: kept
    rows = trajectory.explain([network], data, points=3).rows
    path = [row for row in rows if row["what"] == "path"]
    assert [row["epoch"] for row in path] == [0, 1, 2] and len(rows) == 3 + 9
    of_images = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for row, weights in zip(path, kept.values(), strict=True):
        stack(model, weights)
        logits = model(data.train.images.astype(np.float32) / 255, training=False)
        assert row["loss"] == pytest.approx(float(of_images(data.train.labels, logits)), rel=1e-3)
    assert unstack(model).keys() == before.keys()
    assert path[-1]["first"] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_weights_are_kept_from_before_the_first_step_on(tmp_path):
    data = digits(train_size=60, test_size=30, validation_split=0.0)
    model = resnet_v1(data.image_shape, 10, depth=8)
    before = unstack(model)
    with resnet.Run(tmp_path / "run") as run:
        callbacks = {"weights": Weights(every=2)}
        resnet.fit(model, data, run=run, callbacks=callbacks, epochs=5, batch_size=30, plateau=None)
    network = Subject(SimpleNamespace(model=model), run=run.directory)
    kept = network.kept_weights()
    assert list(kept) == [0, 2, 4]
    for name, array in before.items():
        np.testing.assert_array_equal(kept[0][name], array)
    path, _, explained = trajectory.plane(unstack(model), list(kept.values()))
    assert np.all(np.diff(np.linalg.norm(path, axis=1)) < 0) and explained.sum() == pytest.approx(1, abs=1e-4)
    run.directory.kept_weights()[4].unlink()
    with pytest.raises(UserError, match="kept the weights of 2 epochs, a path has three at least"):
        network.kept_weights()


def test_the_middle_of_a_landscape_is_the_loss_of_the_network_looped_or_not():
    models = [resnet_v1((16, 16, 3), 3, 20, stage=stage) for stage in ("looped", "unrolled")]
    stack(models[1], unstack(models[0]))
    data = dataset()
    surfaces = [landscape.explain([subject(model)], data, points=1).rows for model in models]
    for a, b in zip(*surfaces, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
    logits = models[0](data.train.images.astype(np.float32) / 255, training=False)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(data.train.labels, logits)
    assert surfaces[0][4]["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_cka_by_its_definition():
    x, y = RNG.normal(size=(40, 6)), RNG.normal(size=(40, 9))
    rotation, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
    gram, cka = similarity.gram, similarity.cka
    assert cka(gram(x), gram(3 * x @ rotation + 5)) == pytest.approx(1, abs=1e-5)
    assert cka(gram(np.eye(4)[:, :2] @ [[1, 0], [0, 0]]), gram(np.eye(4)[:, :1])) == pytest.approx(
        1, abs=1e-5
    )
    x, y = x - x.mean(0), y - y.mean(0)
    by_features = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert cka(gram(x), gram(y)) == pytest.approx(by_features, rel=1e-4)
    assert cka(gram(x), gram(y)) < 0.5


PICTURES = RNG.uniform(0, 255, (3, 9, 9, 2)).astype(np.float32)


def test_changes_of_pictures_are_those_of_scipy():
    for change in (robustness.noise, robustness.blur, robustness.shift, robustness.rotation):
        np.testing.assert_allclose(change(PICTURES, 0), PICTURES, atol=1e-3)
    np.testing.assert_allclose(robustness.rotation(PICTURES, 90), np.rot90(PICTURES, axes=(1, 2)), atol=0.1)
    moved = ndimage.shift(PICTURES, (0, 2, 2, 0), order=1, mode="nearest")
    np.testing.assert_allclose(robustness.shift(PICTURES, 2), moved, atol=1e-2)
    for deviation in (0.5, 2.0):
        blurred = ndimage.gaussian_filter(PICTURES, (0, deviation, deviation, 0), mode="nearest", truncate=3)
        np.testing.assert_allclose(robustness.blur(tf.constant(PICTURES), deviation), blurred, atol=0.05)
    added = robustness.noise(np.full((50, 32, 32, 3), 9.0, np.float32), 20.0) - 9.0
    assert np.std(added) == pytest.approx(20, rel=0.02)
    assert abs(np.mean(added)) < 0.3
    np.testing.assert_array_equal(
        added + 9.0, robustness.noise(np.full((50, 32, 32, 3), 9.0, np.float32), 20.0)
    )


def test_robustness_begins_with_the_accuracy_of_the_network():
    network, data = subject(resnet_v1((16, 16, 3), 3, 14)), dataset()
    found = robustness.explain([network], data).rows
    predicted = np.argmax(network.model(network.inputs(data.test.images), training=False), 1)
    expected = np.mean(predicted == data.test.labels)
    assert [row["accuracy"] for row in found if row["amount"] == 0] == pytest.approx([expected] * 4)


def test_embeddings_are_what_the_last_layer_is_given():
    network, data = subject(resnet_v1((16, 16, 3), 3, 14)), dataset()
    kernel, bias = (np.array(v) for v in network.model.layers[-1].weights)
    found = features.embeddings(network, data.test.images) @ kernel + bias
    expected = network.model(network.inputs(data.test.images), training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_projector_of_tensorboard_reads_points_classes_and_pictures(channels, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "TEXTURE", 32)  # so that pictures of 16 pixels to a side are made smaller
    data = dataset(5)
    split = Split(data.test.images[..., :channels], data.test.labels)
    points = RNG.normal(size=(5, 4)).astype(np.float32)
    for name, content in features.projector_files(
        {"a network": points}, split, ["cat", "dog", "e\tmu"]
    ).items():
        (tmp_path / name).write_bytes(content)
    runs = SimpleNamespace(list_runs=lambda *_, **options: [SimpleNamespace(run_name=tmp_path.name)])
    apps = ProjectorPlugin(TBContext(data_provider=runs, logdir=str(tmp_path.parent))).get_plugin_apps()

    def get(route):
        return Client(apps[route]).get("/", query_string={"run": tmp_path.name, "name": "a network"}).data

    found = np.frombuffer(get("/tensor"), np.float32).reshape(5, 4)
    np.testing.assert_allclose(found, points, rtol=1e-5)
    assert get("/metadata").decode().splitlines() == ["cat", "dog", "e\\x09mu", "cat", "dog"]
    (entry,) = json.loads(get("/info"))["embeddings"]
    width, height = entry["sprite"]["singleImageDim"]
    with Image.open(io.BytesIO(get("/sprite_image"))) as sprite:
        assert sprite.size == (3 * width, 2 * height) and max(sprite.size) <= 32
        second = np.asarray(sprite)[:height, width : 2 * width]
    np.testing.assert_array_equal(second, np.broadcast_to(split.images[1, ::2, ::2], (8, 8, 3)))


def test_a_map_keeps_planted_groups_together():
    labels = np.arange(60) % 3
    points = 10 * np.eye(3)[labels] @ RNG.normal(size=(3, 20)) + RNG.normal(size=(60, 20))
    assert features.agreement(features.plane(points, 0), labels) == 1
    assert features.agreement(np.array([[0.0, 0], [0, 1], [5, 0], [5, 1]]), np.array([0, 0, 1, 2])) == 0.5


def in_another():
    """A network that is one layer of another."""
    images = keras.Input((16, 16, 3))
    return keras.Model(images, resnet_v1((16, 16, 3), 3, 8)(images), name="outer")


def without_names():
    images = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))
    return keras.Model(images, keras.layers.Dense(3)(x), name="bare")


def without_convolutions():
    images = keras.Input((16, 16, 3))
    x = keras.layers.Dense(4, name="stage1_block1_dense")(keras.layers.Flatten(name="stem_flat")(images))
    return keras.Model(images, keras.layers.Dense(3, name="logits")(x), name="dense")


def in_a_row():
    layers = [keras.layers.Conv2D(4, 3, name="stage1_block1_conv1"), keras.layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((16, 16, 3)), *layers, keras.layers.Dense(3)], name="row")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (in_another, "outer has no convolution among its own layers"),
        (without_names, "bare has no blocks: none of its layers is called as stage1_block1_conv1"),
        (without_convolutions, "dense has no convolution among its own layers"),
        (in_a_row, r"row has no graph of its own; build it as keras.Model\(inputs, outputs\)"),
    ],
)
def test_networks_that_features_cannot_be_shown_of(build, words):
    data = dataset()
    preprocessing = Preprocessing(data.normalization)
    network = Subject(Trained(build(), preprocessing, data.class_names))
    with pytest.raises(UserError, match=words):
        features.explain([network], data)


def test_activations_are_the_strongest_of_each_stage():
    network, data = subject(resnet_v1((16, 16, 3), 3, 14)), dataset()
    found = features.activations(network, data.test.images[:1])
    assert {part: maps.shape for part, maps in found.items()} == {
        "stem": (6, 16, 16),
        "stage1": (6, 16, 16),
        "stage2": (6, 8, 8),
        "stage3": (6, 4, 4),
    }
    first = np.array(network.blocks[0](network.inputs(data.test.images[:1])))[0]
    strongest = first[..., first.mean((0, 1)).argmax()]
    np.testing.assert_allclose(found["stem"][0], strongest / strongest.max(), rtol=1e-5)


def test_networks_at_hand_are_explained_without_a_run():
    """Two on digits; fresh weights, which no run remembers, are drawn anew."""
    data = digits(train_size=60, test_size=30, validation_split=0.0)
    trainers = {
        label: resnet.fit(build(data.image_shape, 10, depth=8), data, epochs=1, batch_size=30, plateau=None)
        for label, build in (("with", resnet_v1), ("without", plain))
    }
    weights = unstack(trainers["with"].model)
    found = resnet.explain("gradients", trainers, count=20)
    assert {row["network"] for row in found.rows} == {"with", "without"}
    assert all(np.isfinite(row["weights"]) for row in found.rows)
    before, after = (
        [row["weights"] for row in found.rows if row["network"] == "with" and row["when"] == when]
        for when in gradients.WHEN
    )
    assert before != after
    for name, array in unstack(trainers["with"].model).items():
        np.testing.assert_array_equal(array, weights[name])
    with pytest.raises(UserError, match="with: this picture is of what a run has left"):
        resnet.explain("calibration", trainers)
    with pytest.raises(UserError, match="with: this picture is of what a run has left"):
        resnet.explain("data_map", trainers)
    with pytest.raises(ConfigError, match="did you mean lesion"):
        resnet.explain("leison", trainers)
