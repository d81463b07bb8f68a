import io

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from resnet.data.dataset import Split
from resnet.report import figures

RNG = np.random.default_rng(0)
EPOCHS = [
    {
        "epoch": i,
        "train/loss": 2 / i,
        "train/accuracy": 1 - 0.5 / i,
        "test/loss": 2.5 / i,
        "test/accuracy": 0.9 - 0.5 / i,
        "rate/schedule_factor": 1.0 if i < 6 else 0.1,
        "rate/plateau_factor": 1.0 if i < 4 else 0.5,
        "rate/learning_rate": 1e-3 * (1.0 if i < 6 else 0.1) * (1.0 if i < 4 else 0.5),
    }
    for i in range(1, 11)
]


def lines(axes):
    return {line.get_label(): line.get_ydata() for line in axes.lines}


def test_curves_show_loss_accuracy_rate_and_its_factors():
    loss, accuracy, rate, factors = figures.curves(EPOCHS, "a run").axes
    assert set(lines(loss)) == set(lines(accuracy)) == {"train", "test"}
    np.testing.assert_array_equal(lines(accuracy)["test"], [e["test/accuracy"] for e in EPOCHS])
    product = 1e-3 * lines(factors)["schedule"] * lines(factors)["plateau"]
    np.testing.assert_allclose(lines(rate)["learning rate"], product)
    assert all(axes.get_title() for axes in (loss, accuracy, rate, factors))


def test_curves_of_one_epoch():
    picture = Image.open(io.BytesIO(figures.png(figures.curves(EPOCHS[:1]))))
    assert np.asarray(picture).std() > 0


def test_samples_have_a_class_a_row():
    labels = RNG.integers(0, 10, 1000)
    chosen = figures.samples(Split(np.zeros((1000, 1, 1, 1), np.uint8), labels), list("0123456789"))
    np.testing.assert_array_equal(labels[chosen].reshape(10, 10), np.arange(10)[:, None] * np.ones(10))


def test_samples_of_many_classes_show_as_many_as_fit():
    labels = np.arange(500) % 200
    chosen = figures.samples(Split(np.zeros((500, 1, 1, 1), np.uint8), labels), [str(i) for i in range(200)])
    assert len(set(labels[chosen])) == len(chosen) == 100


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_holds_every_image_under_its_caption(channels):
    images = RNG.integers(0, 256, (7, 12, 12, channels), np.uint8)
    (axes,) = figures.grid(images, [f"number {i}" for i in range(7)], columns=3).axes
    canvas = axes.images[0].get_array()
    cell_height, cell_width = canvas.shape[0] // 3, canvas.shape[1] // 3
    for i, (image, text) in enumerate(zip(images, axes.texts, strict=True)):
        row, column = divmod(i, 3)
        bottom, left = (row + 1) * cell_height, column * cell_width
        np.testing.assert_array_equal(
            canvas[bottom - 12 : bottom, left : left + 12], np.broadcast_to(image, (12, 12, 3))
        )
        assert text.get_text() == f"number {i}"
        assert left < text.get_position()[0] < left + 12
        assert bottom - cell_height < text.get_position()[1] <= bottom - 12


@pytest.mark.parametrize(
    ("label", "caption"), [([0, 1, 0], "dog"), ([0.25, 0.0, 0.75], "a very lo… 75%\ncat 25%")]
)
def test_label_caption(label, caption):
    assert figures.label_caption(np.array(label), ["cat", "dog", "a very long name"]) == caption


def test_mistakes_begin_with_the_worst():
    images = RNG.integers(0, 256, (4, 6, 6, 3), np.uint8)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.01, 0.99]])
    (axes,) = figures.mistakes(Split(images, np.array([0, 1, 1, 0])), probabilities, ["cat", "dog"]).axes
    assert [text.get_text() for text in axes.texts] == ["is cat\ndog 99%?", "is dog\ncat 80%?"]
    assert axes.get_title() == "2 of 4 images are mistaken"


def test_no_mistakes():
    split = Split(np.zeros((2, 6, 6, 3), np.uint8), np.array([0, 1]))
    figure = figures.mistakes(split, np.eye(2), ["a", "b"])
    assert [text.get_text() for text in figure.texts] == ["0 of 2 images are mistaken"]


def test_confusion_counts_each_cell():
    axes, _ = figures.confusion([[5, 2, 0], [0, 6, 0], [1, 0, 4]], ["cat", "dog", "frog"]).axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "5", (1, 0): "2", (1, 1): "6", (0, 2): "1", (2, 2): "4"}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["cat", "dog", "frog"]
    colours = axes.images[-1].get_array()
    assert colours.mask.diagonal().all()  # the many that are right do not drown the errors
    assert colours[0, 1] == pytest.approx(2 / 7)


def test_confusion_of_nothing_but_errors_ends_at_all_of_them():
    axes, bar = figures.confusion([[0, 2, 0], [0, 0, 3], [4, 0, 0]], ["a", "b", "c"]).axes
    assert axes.images[-1].norm.vmax == 1
    assert bar.get_yticklabels()[-1].get_text() == "100%"


def test_confusion_of_many_classes_lists_the_most_frequent():
    matrix = np.diag(np.full(100, 50))
    matrix[3, 7], matrix[9, 2] = 20, 10
    axes = figures.confusion(matrix, [f"class{i}" for i in range(100)]).axes[0]
    listed = axes.texts[0].get_text().splitlines()[2:]
    assert [" ".join(line.split()) for line in listed] == [
        "20 class3 (3) as class7 (7)",
        "10 class9 (9) as class2 (2)",
    ]


def epochs(accuracies, split="validation"):
    return [
        {"epoch": i, "train/accuracy": a + 0.05, f"{split}/accuracy": a, f"{split}/loss": 1 - a}
        for i, a in enumerate(accuracies, 1)
    ]


def test_comparison_draws_the_mean_of_seeds_as_far_as_all_have_come():
    runs = [epochs([0.5, 0.6, 0.7]), epochs([0.6, 0.7])]
    groups = [("A", "depth 20", runs, [0.7, 0.7]), ("B", "depth 32", [epochs([0.4, 0.5])], [0.5])]
    _, held_out, trained, _ = figures.compare(groups, "validation/accuracy").axes
    np.testing.assert_allclose(lines(held_out)["A  depth 20"], [0.55, 0.65])
    np.testing.assert_allclose(lines(trained)["A  depth 20"], [0.6, 0.7])
    np.testing.assert_allclose(lines(held_out)["B  depth 32"], [0.4, 0.5])
    assert held_out.get_title() == "accuracy (validation)"


def test_comparison_draws_test_images_where_none_are_held_out():
    groups = [("A", "split", [epochs([0.5])], []), ("B", "all", [epochs([0.6], "test")], [])]
    _, held_out, _, _ = figures.compare(groups, "test/accuracy").axes
    assert [line.get_ydata()[0] for line in held_out.lines] == [0.5, 0.6]
    assert held_out.get_title() == "accuracy (test, or validation)"


def test_comparison_has_a_row_of_seeds_with_its_interval_for_each_group():
    runs = [epochs([0.8, 0.9])] * 3
    groups = [
        (letter, f"depth {i}", runs, values)
        for i, (letter, values) in enumerate({"A": [0.90, 0.91, 0.92], "B": [0.8], "C": []}.items())
    ]
    seeds, *_ = figures.compare(groups, "test/accuracy").axes
    assert [tick.get_text() for tick in seeds.get_yticklabels()] == ["A", "B", "C"]
    drawn = {}
    for line in seeds.lines:
        drawn.setdefault(round(line.get_ydata()[0]) if len(line.get_xdata()) else 2, {})[line.get_label()] = (
            list(line.get_xdata())
        )
    low, high = drawn[0]["interval"]
    assert drawn[0]["a seed"] == [0.90, 0.91, 0.92] and drawn[0]["mean"] == [pytest.approx(0.91)]
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.01 / 3**0.5)  # Student's t of two degrees
    assert drawn[1] == {"a seed": [0.8]}
    assert drawn[2] == {"a seed": []}


def test_many_groups_differ_in_dashes_or_marker_without_colour():
    groups = [(str(i), "", [epochs([0.5])], []) for i in range(20)]
    _, held_out, *_ = figures.compare(groups, "test/accuracy").axes
    assert len({(line.get_linestyle(), line.get_marker()) for line in held_out.lines}) == 20


@pytest.mark.parametrize("name", ["$0_$10", "$x$", r"\$5 and \$6", "a_b^{c", "$\\frac$"])
def test_names_stand_in_the_pictures_as_they_are(name):
    names = [name, "other"]
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 0, 1, 1])
    probabilities = np.array([[0.1, 0.9], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    many = np.arange(900).reshape(30, 30)
    pictures = [
        figures.grid(images, [name] * 4, title=name),
        figures.mistakes(Split(images, labels), probabilities, names),
        figures.confusion(np.array([[3, 1], [2, 4]]), names),
        figures.confusion(many, [name] * 30),
        figures.curves(EPOCHS, name),
        figures.compare([("A", name, [EPOCHS], []), ("B", "other", [EPOCHS], [])], "test/accuracy"),
    ]
    for figure in pictures:
        figures.png(figure)
        shown = [text for text in figure.findobj(Text) if figures.short(name, 10)[:5] in text.get_text()]
        assert shown
        assert not any(text.get_parse_math() for text in shown)


def test_the_users_own_style_is_not_asked(monkeypatch):
    """Such as LaTeX for all texts, which is not installed everywhere and reads names as formulas."""
    plain = figures.png(figures.confusion(np.array([[3, 1], [2, 4]]), ["a_b", "50%"]))
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    assert figures.png(figures.confusion(np.array([[3, 1], [2, 4]]), ["a_b", "50%"])) == plain


def test_runs_that_hold_nothing_out_are_compared_by_their_end():
    run = [{"epoch": epoch, "train/accuracy": 0.5, "train/loss": 1.0} for epoch in (1, 2)]
    groups = [("A", "one", [run, run], [0.5, 0.6]), ("B", "other", [run, run], [0.6, 0.7])]
    assert figures.png(figures.compare(groups, "test/accuracy")).startswith(b"\x89PNG")
