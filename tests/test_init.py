"""Weights to begin with: from a finished run, from keras.applications' files and from PyTorch's."""

import logging
import urllib.error
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import resnet
from resnet.data import Preprocessing, synthetic
from resnet.errors import UserError
from resnet.models import resnet9, resnet_imagenet, resnet_v1, resnet_v2, unstack, vgg
from resnet.run.callbacks import Checkpoints
from resnet.run.checkpoints import newest
from tests.test_applications import randomized

SMALL = {"image_size": 12, "train_images": 40, "test_images": 20, "validation_split": 0.0}


def data(seed=1, **options):
    return synthetic(**{**SMALL, "classes": 3, "normalization": "channel", "seed": seed, **options})


def network(dataset, depth=20, family=resnet_v1, **options):
    return family(dataset.image_shape, dataset.num_classes, depth, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Of depth 20, on three classes, ended with the weights of the best epoch, which was not the last."""
    folder, dataset = tmp_path_factory.mktemp("init") / "run", data()
    keras.utils.set_random_seed(0)
    with resnet.Run(folder) as run:
        options = {"epochs": 5, "batch_size": 10, "watch": "test", "final_weights": "best"}
        callbacks = {"checkpoints": Checkpoints(), "worse": Worse()}
        resnet.fit(network(dataset, bn_momentum=0.5), dataset, callbacks=callbacks, run=run, **options)
    return folder


class Worse(keras.callbacks.Callback):
    """Spoils what the last epoch will be judged by."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 4:
            for variable in self.model.trainable_variables:
                variable.assign(-variable)


def begun(init, model, dataset):
    """Weights by block after `init`, and the normalization that it gives."""
    normalization = init(model, dataset)
    return unstack(model), normalization


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["looped", "unrolled"])
def test_a_run_gives_all_its_weights_and_its_normalization(finished, stage):
    taught, other = resnet.load(finished), data(seed=9)
    found, normalization = begun(resnet.init.run(finished), network(other, stage=stage), other)
    for name, array in unstack(taught.model).items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    np.testing.assert_array_equal(normalization.mean, data().normalization.mean)
    assert not np.allclose(normalization.mean, other.normalization.mean, rtol=1e-4)


def test_last_weights_are_another_choice_than_the_best(finished):
    model = network(data())
    best = begun(resnet.init.run(finished, weights="best"), model, data())[0]
    last = begun(resnet.init.run(finished, weights="last"), model, data())[0]
    saved = newest(finished / "checkpoints")[0]
    np.testing.assert_array_equal(last["stem_conv/kernel"], next(iter(saved.values())))
    assert not np.array_equal(best["stem_conv/kernel"], last["stem_conv/kernel"])
    with pytest.raises(UserError, match="init.weights=ema: .* trainer.final_weights=best; give"):
        resnet.init.run(finished, weights="ema")(model, data())


def test_another_depth_takes_the_blocks_that_are_there(finished, caplog):
    caplog.set_level(logging.INFO)
    taught = unstack(resnet.load(finished).model)
    deeper = network(data(), depth=32)
    before = unstack(deeper)
    found, _ = begun(resnet.init.run(finished), deeper, data())
    assert "stage1_blocks4-5, stage2_blocks4-5, stage3_blocks4-5 begins anew" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    for name, array in found.items():
        np.testing.assert_array_equal(array, taught.get(name, before[name]), err_msg=name)
    begun(resnet.init.run(finished), network(data(), depth=8), data())
    assert "stage1_blocks2-3, stage2_blocks2-3, stage3_blocks2-3 has no place here" in caplog.text


def of_counted_names():
    """With the names that Keras gives, which count up from one model to the next."""
    images = keras.Input((12, 12, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))
    return keras.Model(images, keras.layers.Dense(3, name="logits")(x), name="own")


def test_layers_outside_of_the_blocks_that_begin_anew_are_warned_of(tmp_path, caplog):
    keras.backend.clear_session()
    with resnet.Run(tmp_path / "run") as run:
        options = {"epochs": 1, "batch_size": 20, "watch": "test"}
        resnet.fit(of_counted_names(), data(), callbacks={}, run=run, **options)
    caplog.clear()
    resnet.init.run(tmp_path / "run")(of_counted_names(), data())
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.endswith("weights of 1 blocks and layers; conv2d_1 begins anew; conv2d has no place here")


def test_whose_normalization_is_taken_is_told(finished, caplog):
    caplog.set_level(logging.INFO)
    resnet.init.run(finished)(network(data()), data())
    assert "normalization" not in caplog.text
    other = data(normalization="pixel_mean")
    resnet.init.run(finished)(network(other), other)
    assert "its normalization (channel) is taken, not that of the data here (pixel_mean)" in caplog.text


def test_pictures_it_was_trained_on_are_told_of_where_they_are_for_testing(finished, caplog):
    before = data()
    resnet.init.run(finished)(network(before), before)
    assert "was trained on" not in caplog.text
    turned = replace(before, train=before.test, test=before.train)
    resnet.init.run(finished)(network(turned), turned)
    assert "was trained on 40 of the 40 test images here" in caplog.text


@pytest.mark.parametrize(("classifier", "classes"), [("new", 3), ("fitting", 2)])
def test_a_new_head_is_left_as_it_was(finished, classifier, classes):
    dataset = data(classes=classes)
    model = network(dataset)
    before = unstack(model)
    found, _ = begun(resnet.init.run(finished, classifier=classifier), model, dataset)
    changed = {name for name, array in found.items() if not np.array_equal(array, before[name])}
    assert "stage3_block3_conv2/kernel" in changed and not {"logits/kernel", "logits/bias"} & changed


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            lambda d: network(d, 29, resnet_v2),
            "is of model=resnet_v1, .* here is model=resnet_v2",
        ),
        (lambda d: network(d, filters=(8, 16, 32)), "stem_conv/kernel is 3x3x3x16 there and 3x3x3x8 here"),
        (lambda d: network(d, bn_epsilon=1e-5), "stem_bn is .*epsilon=0.001.* there and .*epsilon=1e-05"),
        (lambda d: network(d, padding="symmetric"), "stage2_block1_conv1_pad is absent there"),
        (lambda d: network(d, activation="silu"), "stage1_block1_silu1 is absent there"),
        (
            lambda d: network(d, shortcut="identity"),
            "stage2_block1_shortcut/kernel is .* and absent here",
        ),
        (lambda d: network(d, strides=(2, 1, 2, 2)), r"stem_conv .*strides=\(1, 1\).* there and .*\(2, 2\)"),
    ],
)
def test_another_network_is_refused_by_what_differs(finished, model, words):
    with pytest.raises(UserError, match=words):
        resnet.init.run(finished)(model(data()), data())


@pytest.mark.slow
def test_a_mean_picture_of_another_size_is_refused(tmp_path):
    small, large = data(normalization="pixel_mean"), data(image_size=16)
    with resnet.Run(tmp_path / "run") as run:
        resnet.fit(network(small, 8), small, callbacks={}, run=run, epochs=1, batch_size=20)
    with pytest.raises(UserError, match="mean picture of 12x12x3, and pictures here are 16x16x3"):
        resnet.init.run(tmp_path / "run")(network(large, 8), large)
    with pytest.raises(UserError, match="has no checkpoint"):
        resnet.init.run(tmp_path / "run", weights="last")(network(small, 8), small)
    with pytest.raises(UserError, match="init.run=.*: there is no run"):
        resnet.init.run(tmp_path / "nowhere")(network(small, 8), small)


def published(name, folder, **options):
    """A file in the layout of keras.applications' with random weights, and the network that it is of."""
    theirs = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3), **options)
    randomized(theirs)
    with h5py.File(folder / "weights.h5", "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in theirs.layers]
        for layer in theirs.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"{w.name}:0".encode() for w in layer.weights]
            for weight in layer.weights:
                group[f"{weight.name}:0"] = np.array(weight)
    return folder / "weights.h5", theirs


def prepared(name, pictures):
    return getattr(keras.applications, name).preprocess_input(pictures.astype("float32"))


def pictures(count=2):
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def of_classes(count):
    return data(image_size=SIZE, classes=count, train_images=count, test_images=count)


SIZE = 64
V1 = {"conv_bias": True, "strided_conv": "1x1", "bn_epsilon": 1.001e-5}
V2 = {"conv_bias": True, "version": 2, "strided_block": "last", "bn_epsilon": 1.001e-5}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "module", "options"), [("ResNet50", "resnet", V1), ("ResNet50V2", "resnet_v2", V2)]
)
def test_a_published_file_gives_the_probabilities_of_keras(name, module, options, tmp_path):
    """From the same uint8 pictures, each by its own preprocessing."""
    path, theirs = published(name, tmp_path)
    dataset = of_classes(1000)
    ours = network(dataset, 50, resnet_imagenet, **options)
    normalization = resnet.init.imagenet(str(path))(ours, dataset)
    expected = theirs(prepared(module, pictures())).numpy()
    found = tf.nn.softmax(ours(Preprocessing(normalization).inference(pictures()))).numpy()
    assert expected.max() > 0.003  # of 1,000 classes: they are not all alike
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.max())
    other = network(of_classes(3), 50, resnet_imagenet, **options | {"bn_epsilon": 1e-3})
    with pytest.raises(UserError, match="bn.* is .*epsilon=1.001e-05 there and .*epsilon=0.001 here"):
        resnet.init.imagenet(str(path))(other, of_classes(3))


def test_a_file_of_vgg_without_its_classifier(tmp_path):
    path, theirs = published("VGG16", tmp_path, include_top=False)
    ours = network(of_classes(3), 16, vgg, norm="none")
    normalization = resnet.init.imagenet(str(path))(ours, of_classes(3))
    features = keras.Model(ours.input, ours.get_layer("stage5_pool").output)
    expected = theirs(prepared("vgg16", pictures())).numpy()
    found = features(Preprocessing(normalization).inference(pictures())).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.max())
    dense = network(of_classes(3), 16, vgg, norm="none", head="imagenet")
    with pytest.raises(UserError, match="has no classifier; give init.classifier=new"):
        resnet.init.imagenet(str(path))(dense, of_classes(3))


@pytest.mark.parametrize(
    ("model", "file", "words"),
    [
        (lambda d: network(d), None, "keras.applications has no resnet_v1_20\nit has model=resnet_keras_v1"),
        (lambda d: network(d, 50, resnet_imagenet), "missing.h5", "init.file=missing.h5 is no .h5"),
        (
            lambda d: network(d, 50, resnet_imagenet, **V1),
            None,
            "init=imagenet: https://.*_notop.h5 cannot be downloaded; lay it at .*/models/resnet50_.*h5",
        ),
    ],
)
def test_what_keras_has_not_or_cannot_be_had(model, file, words, monkeypatch):
    def fail(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(UserError, match=words):
        resnet.init.imagenet(file)(model(data()), data())


def torchvision_resnet(bottleneck, counts, classes, groups=1, width=64):
    """A ResNet with the names that torchvision and timm give its weights, which are random."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs, filters, stride):
            super().__init__()
            inner = filters * width // 64 * groups if bottleneck else filters
            outputs = 4 * filters if bottleneck else filters
            if bottleneck:
                shapes = [
                    (inputs, inner, 1, 1, 1),
                    (inner, inner, 3, stride, groups),
                    (inner, outputs, 1, 1, 1),
                ]
            else:
                shapes = [(inputs, inner, 3, stride, 1), (inner, outputs, 3, 1, 1)]
            self.count = len(shapes)
            for i, (a, b, size, by, parts) in enumerate(shapes, 1):
                setattr(self, f"conv{i}", nn.Conv2d(a, b, size, by, size // 2, groups=parts, bias=False))
                setattr(self, f"bn{i}", nn.BatchNorm2d(b))
            if stride > 1 or inputs != outputs:
                self.downsample = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )
            self.outputs = outputs

        def forward(self, x):
            y = x
            for i in range(1, self.count + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = torch.relu(y) if i < self.count else y
            return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
            inputs = 64
            for stage, count in enumerate(counts, 1):
                blocks = []
                for i in range(count):
                    blocks.append(Block(inputs, 32 * 2**stage, 2 if stage > 1 and i == 0 else 1))
                    inputs = blocks[-1].outputs
                setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            self.fc = nn.Linear(inputs, classes)

        def forward(self, x):
            x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))

    torch.manual_seed(0)
    made = Network().eval()
    for name, values in made.state_dict().items():
        if ("bn" in name or "downsample.1" in name) and values.is_floating_point():
            values.uniform_(0.5, 1.5)
    return made


@pytest.mark.parametrize(
    ("depth", "bottleneck", "counts", "options"),
    [
        (18, False, (2, 2, 2, 2), {}),
        (34, False, (3, 4, 6, 3), {}),
        (50, True, (3, 4, 6, 3), {}),
        (50, True, (3, 4, 6, 3), {"cardinality": 32, "group_width": 4}),
    ],
)
def test_torchvision_and_timm_give_the_logits_of_pytorch(depth, bottleneck, counts, options, tmp_path):
    """From uint8 pictures; a file of PyTorch itself gives the names and the arithmetic."""
    torch = pytest.importorskip("torch")
    groups, width = options.get("cardinality", 1), options.get("group_width", 64)
    theirs = torchvision_resnet(bottleneck, counts, 3, groups, width)
    path = tmp_path / "weights.npz"
    np.savez(path, **{name: values.numpy() for name, values in theirs.state_dict().items()})
    dataset = of_classes(3)
    ours = network(dataset, depth, resnet_imagenet, **options)
    normalization = resnet.init.torch(str(path))(ours, dataset)
    scaled = (pictures() / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        expected = theirs(torch.from_numpy(scaled.astype("float32").transpose(0, 3, 1, 2))).numpy()
    found = ours(Preprocessing(normalization).inference(pictures())).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_pickle_is_refused_with_the_cure(tmp_path):
    (tmp_path / "resnet18.pth").write_bytes(b"\x80\x05")
    with pytest.raises(UserError, match="a PyTorch checkpoint is a pickle\n.*safetensors.torch.save_file"):
        resnet.init.torch(str(tmp_path / "resnet18.pth"))(network(data()), data())


@pytest.mark.parametrize("stem_filters", [24, 7])
def test_whitened_filters_see_uncorrelated_values_of_one_variance(stem_filters):
    dataset = data()
    options = {"filters": (4, 4, 4), "branches": (0, 0, 0), "stem_filters": stem_filters, "stem_size": 2}
    model = resnet9(dataset.image_shape, 3, **options)
    resnet.init.whitened(epsilon=0.0)(model, dataset)
    kernel = model.get_layer("stem_conv").kernel
    half = -(-stem_filters // 2)
    np.testing.assert_array_equal(kernel[..., half:], -kernel[..., : stem_filters - half])
    images = dataset.normalization(dataset.train.images.astype("float32"))
    seen = tf.reshape(tf.nn.conv2d(images, kernel[..., :half], 1, "VALID"), (-1, half))
    moments = tf.matmul(seen, seen, transpose_a=True) / len(seen)
    np.testing.assert_allclose(moments, np.eye(half), atol=1e-3)


def test_convolutions_that_begin_as_the_identity_pass_on_what_they_see():
    dataset = data()
    options = {"filters": (32, 32, 48), "branches": (1, 0, 0), "stem_filters": 24, "stem_size": 2}
    before, model = (resnet9(dataset.image_shape, 3, **options) for _ in range(2))
    model.set_weights(before.get_weights())
    resnet.init.whitened(identity=True)(model, dataset)
    rng = np.random.default_rng(0)
    for name, channels in (
        ("stage1_block1_conv1", 24),
        ("stage1_block1_conv2", 32),
        ("stage3_block1_conv1", 32),
    ):
        x = rng.normal(size=(2, 8, 8, channels)).astype("float32")
        found = model.get_layer(name)(x)
        np.testing.assert_allclose(found[..., :channels], x, atol=1e-6)
        random = before.get_layer(name).kernel[..., channels:]
        np.testing.assert_array_equal(model.get_layer(name).kernel[..., channels:], random)


def test_more_filters_than_there_are_components_and_none():
    dataset = data()
    images = keras.Input(dataset.image_shape)
    nested = keras.Model(images, network(dataset)(images), name="outer")
    with pytest.raises(UserError, match="init=whitened: outer has no convolution among its own layers"):
        resnet.init.whitened()(nested, dataset)
    with pytest.raises(UserError, match="(?s)stem_conv has 64 filters, .*give at most 54"):
        resnet.init.whitened()(resnet9(dataset.image_shape, 3, filters=(4, 4, 4)), dataset)
