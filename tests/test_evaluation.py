import keras
import numpy as np
import pytest

from evaluate import show
from resnet.data import Normalization, Preprocessing, synthetic
from resnet.errors import UserError
from resnet.models import resnet_v1, vgg
from resnet.report import evaluation
from resnet.run.trained import Trained

NORMALIZATION = Normalization(np.full(3, 0.4, np.float32), np.full(3, 0.2, np.float32))
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("views", [1, 2, 6])
def test_predict_is_what_keras_predicts(views):
    model = resnet_v1((16, 16, 3), 7, depth=8)
    images = RNG.integers(0, 256, (20, 16, 16, 3), np.uint8)

    def softmax(images):
        return keras.ops.softmax(model.predict(NORMALIZATION(images), verbose=0)).numpy()

    def with_mirror(images):
        return (softmax(images) + softmax(images[:, :, ::-1])) / 2

    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], "reflect")
    expected = {
        1: softmax(images),
        2: with_mirror(images),
        6: np.average(
            [with_mirror(part) for part in (images, padded[:, :-2, :-2], padded[:, 2:, 2:])], 0, [2, 1, 1]
        ),
    }[views]
    found = evaluation.predict(model, images, Preprocessing(NORMALIZATION), views)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ten_crops_are_the_mean_of_what_keras_predicts():
    model = resnet_v1((16, 16, 3), 7, depth=8)
    images = RNG.integers(0, 256, (6, 21, 18, 3), np.uint8)
    corners = [(0, 0), (0, 2), (5, 0), (5, 2), (2, 1)]
    views = [images[:, y : y + 16, x : x + 16] for y, x in corners]
    views += [view[:, :, ::-1] for view in views]
    expected = [keras.ops.softmax(model.predict(NORMALIZATION(view), verbose=0)).numpy() for view in views]
    found = evaluation.predict(model, images, Preprocessing(NORMALIZATION), views=10)
    np.testing.assert_allclose(found, np.mean(expected, 0), atol=1e-5)


def test_ten_crops_need_larger_images_and_one_mean_for_all_places():
    model, names = resnet_v1((16, 16, 3), 10, depth=8), [*"0123456789"]
    network = Trained(model, Preprocessing(NORMALIZATION), names)
    whole = {"validation_split": 0.0, "train_images": 20, "test_images": 20}
    network.check(synthetic(17, **whole), views=10)
    with pytest.raises(UserError, match="images of 16x16x3, and the network takes 16x16x3; give larger ones"):
        network.check(synthetic(16, **whole), views=10)
    of_places = Normalization(np.zeros((16, 16, 3), np.float32), np.ones(1, np.float32))
    with pytest.raises(UserError, match="data.normalization=channel"):
        Trained(model, Preprocessing(of_places), names).check(synthetic(17, **whole), views=10)


def test_calibration_error_by_hand():
    """Three of four at 0.9 right, one of two at 0.6: 4/6 of |0.75 - 0.9| and 2/6 of |0.5 - 0.6|."""
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    labels = np.array([0, 0, 0, 1, 1, 0])
    assert evaluation.calibration_error(probabilities, labels) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)


@pytest.mark.parametrize("bins", [10, 15])
def test_calibration_error_follows_its_definition(bins):
    probabilities = RNG.dirichlet(np.full(5, 0.3), 3000)
    labels = np.array([RNG.choice(5, p=row) for row in probabilities])
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert evaluation.calibration_error(probabilities, labels, bins) == pytest.approx(expected)
    assert expected < 0.05  # labels drawn from the probabilities themselves are calibrated


def test_scores_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32)
    scores = evaluation.score(probabilities, np.array([0, 1, 1, 2]), ["a", "b", "c"])
    assert scores["accuracy"] == 0.75
    assert scores["top5_accuracy"] is None
    assert scores["cross_entropy"] == pytest.approx(-np.log([0.7, 0.8, 0.3, 0.8]).mean(), rel=1e-6)
    assert scores["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert [row["accuracy"] for row in scores["per_class"]] == [1.0, 0.5, 1.0]
    assert [row["precision"] for row in scores["per_class"]] == [0.5, 1.0, 1.0]


def test_top5_and_a_class_without_images():
    probabilities = RNG.dirichlet(np.ones(8), 400)
    labels = RNG.integers(0, 7, 400)  # none of class 7
    scores = evaluation.score(probabilities, labels, [str(i) for i in range(8)])
    ranks = (probabilities > probabilities[np.arange(400), labels][:, None]).sum(1)
    assert scores["top5_accuracy"] == pytest.approx((ranks < 5).mean())
    assert scores["per_class"][7]["images"] == 0


def test_a_report_shows_names_as_they_are(capsys):
    names = ["[bold]a[/bold]", "[/]", ":smile:", "b[0]"]
    probabilities = np.eye(4)[[1, 2, 3, 0]] * 0.9 + 0.025
    report = {"loss": 1.0, "weight_decay": 0.0, **evaluation.score(probabilities, np.arange(4), names)}
    show(report)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[0] for row in rows] == names
    assert [row.split()[-2] for row in rows] == names[1:] + names[:1]


def test_a_network_at_another_size_has_its_weights():
    model, names = resnet_v1((16, 16, 3), 7, depth=8), [*"0123456"]
    network = Trained(model, Preprocessing(NORMALIZATION), names)
    larger = network.at(resnet_v1((24, 24, 3), 7, depth=8), "data.image_size=24")
    assert larger.image_shape == (24, 24, 3)
    expected = resnet_v1((None, None, 3), 7, depth=8)
    expected.set_weights(model.get_weights())
    images = RNG.normal(size=(2, 24, 24, 3)).astype("float32")
    np.testing.assert_allclose(larger.model(images), expected(images), atol=1e-5)


def test_of_another_size_are_neither_dense_layers_nor_mean_pictures():
    options = {"depth": 11, "head": "imagenet"}
    network = Trained(vgg((32, 32, 3), 2, **options), Preprocessing(NORMALIZATION), ["a", "b"])
    with pytest.raises(UserError, match="data.image_size=64: .* is 512x4096 there and 2048x4096 here"):
        network.at(vgg((64, 64, 3), 2, **options), "data.image_size=64")
    of_places = Normalization(np.zeros((32, 32, 3), np.float32), np.ones(1, np.float32))
    with pytest.raises(UserError, match="data.image_size=64: .* data.normalization=channel"):
        network._replace(preprocessing=Preprocessing(of_places)).at(network.model, "data.image_size=64")
