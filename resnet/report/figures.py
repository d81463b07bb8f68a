"""Pictures of a run: its curves, images, mistakes and confusions.

Each function returns a matplotlib Figure that belongs to no window, so it works without a display and
from any thread. Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; lines
differ in their dashes too. Names stand there as they are: a `$` in them begins no formula.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from textwrap import fill
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, PercentFormatter

from resnet.report.statistics import summary
from resnet.run.epoch_record import is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from resnet.data.dataset import AnySplit
    from resnet.report.walk import Gain

P = ParamSpec("P")
T = TypeVar("T")
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#767676"
SPLITS = {"train": (BLUE, "-"), "validation": (GREEN, "-."), "test": (ORANGE, "--")}
NAMED_CLASSES = 20  # more of them leave no room for a number in each cell of a confusion matrix


def own_style(draw: Callable[P, T]) -> Callable[P, T]:
    """A decorator: what is drawn looks the same everywhere, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def drawn(*args: P.args, **options: P.kwargs) -> T:
        defaults = {name: value for name, value in rcParamsDefault.items() if not name.startswith("backend")}
        with rc_context(defaults):
            return draw(*args, **options)

    return drawn


@own_style
def curves(epochs: Sequence[Mapping[str, float]], title: str = "") -> Figure:
    """Loss and every metric of the splits by epoch, the learning rate, and the factors it is a product of.

    `epochs` are dicts of floats by path, one per epoch, as metrics.csv has them.
    """
    names = [name for name in _metrics(epochs) if name != "loss"]
    rows = math.ceil((len(names) + 3) / 2)
    figure = Figure((10, 0.5 + 3 * rows), layout="constrained")
    figure.suptitle(title, parse_math=False)
    panels = list(figure.subplots(rows, 2, sharex=True).flat)
    for axes, name in zip(panels, ["loss", *names], strict=False):
        _draw_metric(axes, epochs, name)
    rate, factors, *unused = panels[len(names) + 1 :]
    _steps(rate, epochs, "rate/learning_rate", PURPLE, "-", "learning rate")
    _steps(factors, epochs, "rate/schedule_factor", BLUE, "-", "schedule")
    _steps(factors, epochs, "rate/plateau_factor", ORANGE, "--", "plateau")
    _steps(factors, epochs, "rate/callback_factor", GREEN, "-.", "callbacks")
    rate.set(title="learning rate", yscale="log")
    factors.set(title="its factors", yscale="log")
    for axes in unused:
        axes.set_axis_off()
    for axes in panels[: len(panels) - len(unused)]:
        _finish(axes, legend=axes is not rate)
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("epoch")
    return figure


def _metrics(epochs):
    """Names of what was measured on any split, in their order."""
    paths = dict.fromkeys(path for epoch in epochs for path in epoch)
    return list(
        dict.fromkeys(name for split, _, name in (p.partition("/") for p in paths) if split in SPLITS)
    )


def _draw_metric(axes, epochs, name):
    for split, (colour, dashes) in SPLITS.items():
        x, y = series(epochs, f"{split}/{name}")
        if len(x):
            axes.plot(x, y, dashes, color=colour, label=split, **_marker(x))
    axes.set(title="loss (weight decay included)" if name == "loss" else name)
    if name == "loss":
        axes.set(yscale="log")
        plain_log(axes)
    elif is_share(name):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def series(epochs: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    """Epochs and values `(n,)` of one column, where it was measured."""
    points = [(e["epoch"], e[name]) for e in epochs if np.isfinite(e.get(name, np.nan))]
    return np.array(points).reshape(-1, 2).T


def samples(split: AnySplit, class_names: Sequence[str], rows: int = 10, columns: int = 10) -> np.ndarray:
    """Indices of `rows * columns` images of a Split for `grid`, as many of each class as can be.

    With no more than `rows` classes a row holds one class.
    """
    per_class = max(1, rows * columns // len(class_names))
    chosen = [np.flatnonzero(split.labels == k)[:per_class] for k in range(len(class_names))]
    return np.concatenate(chosen)[: rows * columns]


@own_style
def lr_range(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], found: Mapping[str, float]
) -> Figure:
    """Losses of a range test by their rates, and the rates by name of `RangeTest.result`."""
    figure = Figure((7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=GREY, lw=0.8, alpha=0.6, label="loss of a step")
    axes.plot(rates, smoothed, color=BLUE, lw=2, label="smoothed")
    for name, colour, dashes in (
        ("suggested_rate", ORANGE, "-"),
        ("steepest_rate", GREEN, "--"),
        ("least_rate", PURPLE, ":"),
    ):
        axes.axvline(
            found[name], color=colour, ls=dashes, label=f"{name.partition('_')[0]}: {found[name]:.2g}"
        )
    least, start = np.nanmin(smoothed), smoothed[0]
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.set_ylim(least - 0.2 * abs(start - least), start + 0.6 * abs(start - least))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left")
    return figure


@own_style
def grid(images: np.ndarray, captions: Sequence[str], title: str = "", columns: int = 10) -> Figure:
    """Images uint8 `(N, H, W, C)` with a caption above each, `columns` per row."""
    height, width = images.shape[1:3]
    rows, lines = -(-len(images) // columns), max(caption.count("\n") for caption in captions) + 1
    # One picture of all: a hundred axes would take seconds to draw.
    above, beside = math.ceil((0.05 + 0.15 * lines) * width), math.ceil(0.04 * width)
    canvas = np.full((rows, above + height, columns, width + beside, 3), 255, np.uint8)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        canvas[row, above:, column, :width] = image if image.shape[-1] == 3 else image[..., :1]
    canvas = canvas.reshape(rows * (above + height), columns * (width + beside), 3)
    figure = Figure((0.95 * columns, 0.95 * columns * canvas.shape[0] / canvas.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(canvas, interpolation="nearest")
    for i, caption in enumerate(captions):
        row, column = divmod(i, columns)
        x, y = column * (width + beside) + width / 2, row * (above + height) + 0.9 * above
        axes.text(x, y, caption, fontsize=7, ha="center", va="bottom", parse_math=False)
    axes.set_title(title, fontsize=11, parse_math=False)
    return figure


def short(name: str, width: int = 14) -> str:
    """A class name that fits above an image."""
    return name if len(name) <= width else f"{name[: width - 1]}…"


def label_caption(label: np.ndarray, class_names: Sequence[str]) -> str:
    """What a label row `(K,)`, one-hot or mixed, says: `cat`, or `cat 70%` above `dog 30%`."""
    classes = np.argsort(-label, kind="stable")[:2]
    if label[classes[0]] > 0.995:
        return short(class_names[classes[0]])
    return "\n".join(f"{short(class_names[k], 10)} {label[k]:.0%}" for k in classes)


@own_style
def mistakes(
    split: AnySplit, probabilities: np.ndarray, class_names: Sequence[str], rows: int = 5, columns: int = 8
) -> Figure:
    """The images of a Split whose true class was given the least probability `(N, K)`, the worst first."""
    labels = split.labels
    predicted = probabilities.argmax(1)
    truth = np.take_along_axis(probabilities, labels[:, None], 1)[:, 0]
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(truth[wrong], kind="stable")][: rows * columns]
    title = f"{len(wrong):,} of {len(labels):,} images are mistaken"
    if not len(worst):
        return _notice(title)
    captions = [
        f"is {short(class_names[labels[i]])}\n{short(class_names[predicted[i]], 10)} "
        f"{probabilities[i, predicted[i]]:.0%}?"
        for i in worst
    ]
    if len(worst) < len(wrong):
        title += f"; the {len(worst)} whose class seemed least likely"
    return grid(split.batch(worst)[0], captions, title, columns)


@own_style
def confusion(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """A confusion matrix of counts `(K, K)`, true classes down and predicted ones across.

    Colour is an error's share of its true class; the diagonal, which would drown them, is grey. Up to
    20 classes each cell has its count, beyond that the most frequent confusions are listed.
    """
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    errors = np.ma.masked_where(np.eye(len(matrix), dtype=bool) | (matrix == 0), share)
    named = len(matrix) <= NAMED_CLASSES
    side = 1.6 + 0.55 * len(matrix) if named else 7.5
    figure = Figure((side + (1.2 if named else 5), side), layout="constrained")
    axes = figure.subplots()
    low, high = (errors.min(), errors.max()) if errors.count() else (0.01, 0.1)
    low = min(low, high / 10)
    axes.imshow(np.eye(len(matrix)), cmap="Greys", vmax=6)
    picture = axes.imshow(errors, cmap="Blues", norm=LogNorm(low, high))
    axes.set(xlabel="predicted class", ylabel="true class")
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    axes.set_title(f"confusion of {matrix.sum():,} images, accuracy {accuracy:.2%}")
    if named:
        dark = np.ma.filled(picture.norm(errors), 0) > 0.5
        _count_cells(axes, matrix, dark, class_names)
        bar = figure.colorbar(picture, fraction=0.04, label="share of the true class")
    else:
        bar = figure.colorbar(picture, fraction=0.04, label="share of the true class", location="left")
        _list_confusions(axes, matrix, class_names)
    bar.minorticks_off()
    bar.set_ticks(ticks := [low, np.sqrt(low * high), high], labels=[f"{100 * tick:.3g}%" for tick in ticks])
    return figure


@own_style
def compare(
    groups: Sequence[tuple[str, str, Sequence[Sequence[Mapping[str, float]]], list[float]]], metric: str
) -> Figure:
    """Groups of runs: each seed and the 95% interval of the mean, and curves by epoch.

    `groups` are tuples: a letter, a label, the runs as `curves` takes each, and the values of `metric`, such
    as `validation/accuracy`, one per seed. A group has its own colour, dashes and marker, and its row where
    the seeds are. Curves are the mean of its runs, with a band to their extremes; those of images held out
    are of the split of `metric`, or of the other one in runs that did not measure it by epoch.
    """
    figure = Figure((13, 9 + 0.35 * len(groups)), layout="constrained")
    (seeds, held_out), (trained, loss) = figure.subplots(2, 2)
    splits = [metric.partition("/")[0]]
    if not all(series(run, metric).size for _, _, runs, _ in groups for run in runs):
        splits += {"validation", "test"} - {*splits}
    panels = {
        held_out: [f"{name}/accuracy" for name in splits],
        trained: ["train/accuracy"],
        loss: [f"{name}/loss" for name in splits],
    }
    for i, (letter, label, runs, _) in enumerate(groups):
        for axes, columns in panels.items():
            _mean_and_band(axes, [_first(run, columns) for run in runs], f"{letter}  {label}", _style(i))
    _seeds(seeds, groups, metric)
    held_out.set(title=f"accuracy ({', or '.join(splits)})", xlabel="epoch")
    trained.set(title="accuracy (train)", xlabel="epoch")
    loss.set(title=f"loss ({', or '.join(splits)}; weight decay included)", xlabel="epoch")
    for axes in (held_out, trained):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    if any(len(line.get_xdata()) for line in loss.lines):  # some run held images out by epoch
        loss.set(yscale="log")
        plain_log(loss)
    for axes in panels:
        _finish(axes, legend=False)
    handles, labels = held_out.get_legend_handles_labels()
    labels = [fill(label, 140, subsequent_indent="     ") for label in labels]
    legend = figure.legend(handles, labels, loc="outside lower left", frameon=False, handlelength=4)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a `$` in a name begins no formula
    return figure


def walk(rows: Sequence[tuple[str, Gain | None, Gain | None]], start: str, end: str, what: str) -> Figure:
    """What each change of a recipe brings: on the way from `start` to `end`, and where the end lacks it.

    `rows` are tuples: the change, and two gains or None, see `report.walk.Gain`. Points are filled where the
    change is told apart from nothing.
    """
    figure = Figure((9, 2 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    kinds = (("added on the way", BLUE, "o", -0.14), (f"{end} with it and without", ORANGE, "s", 0.14))
    axes.axvline(0, color=GREY, lw=1)
    for i, (label, colour, marker, offset) in enumerate(kinds):
        for y, (_, *gains) in enumerate(rows):
            if (gain := gains[i]) is None:
                continue
            place = y + offset
            if gain.low is not None and gain.high is not None:
                axes.plot([100 * gain.low, 100 * gain.high], [place] * 2, "|-", color=colour, lw=1.5)
            face = colour if gain.sure else "white"
            axes.plot(100 * gain.estimate, place, marker, color=colour, mfc=face, ms=8, mew=1.5)
        axes.plot([], [], f"{marker}-", color=colour, label=label)
    axes.plot([], [], "o", color=GREY, mfc="white", label="open: not told apart")
    axes.set_yticks(range(len(rows)), [change for change, *_ in rows])
    axes.set(xlabel=f"points of {what}, 95% interval", ylim=(len(rows) - 0.5, -0.5))
    axes.set_title(f"what each change brings, from {start} to {end}", parse_math=False)
    axes.grid(alpha=0.3, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower left", frameon=False, ncols=3)
    return figure


def _style(i):
    """Colour, dashes and marker of the i-th group: 35 of them differ, in black and white 20."""
    colours = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", "#000000")
    dashes, markers = ("-", "--", "-.", ":"), "os^Dv"
    return {
        "color": colours[i % len(colours)],
        "ls": dashes[i % len(dashes)],
        "marker": markers[i % len(markers)],
    }


def _seeds(axes, groups, metric):
    """One row per group: its seeds as points, below them the mean and its 95% interval."""
    for i, (_, _, _, values) in enumerate(groups):
        style = _style(i)
        point = {"color": style["color"], "marker": style["marker"], "ls": "", "label": "a seed"}
        axes.plot(values, [i - 0.15] * len(values), **point, mfc="none", ms=8, mew=1.5)
        found = summary(values) if values else None
        if found and found.low is not None:
            axes.plot([found.low, found.high], [i + 0.2] * 2, "|-", color="black", lw=1.5, label="interval")
            axes.plot(found.mean, i + 0.2, "|", color="black", ms=14, mew=3, label="mean")
    axes.set(
        title=f"{metric.replace('/', ' ')}: seeds, mean and its 95% interval", ylim=(len(groups) - 0.5, -0.5)
    )
    axes.set_yticks(range(len(groups)), [letter for letter, *_ in groups])
    least, most = axes.get_xlim()
    axes.set_xlim(max(least, -0.02), min(most, 1.02))  # few seeds have an interval that is wider
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.grid(alpha=0.3, axis="x")
    axes.spines[["top", "right"]].set_visible(False)


def _first(epochs, columns):
    """The series of the first of `columns` that was measured."""
    found = [series(epochs, column) for column in columns]
    return next((pair for pair in found if pair.size), found[0])


def _mean_and_band(axes, runs, label, style):
    """Draw series of several runs, over the epochs that all of them have."""
    lines = [dict(zip(*run, strict=True)) for run in runs]
    x = np.array(sorted(set.intersection(*map(set, lines))))
    values = np.array([[line[epoch] for epoch in x] for line in lines])
    axes.plot(x, values.mean(0), label=label, **style, markevery=max(1, len(x) // 8), markersize=5)
    if len(lines) > 1:
        axes.fill_between(x, values.min(0), values.max(0), color=style["color"], alpha=0.2, lw=0)


@own_style
def png(figure: Figure, dpi: int = 120) -> bytes:
    """The figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, bbox_inches="tight")
    return file.getvalue()


class _Sparse(LogFormatter):
    """Names the ticks that LogFormatter would, as plain numbers."""

    def __call__(self, x, pos=None):
        return f"{x:g}" if super().__call__(x, pos) else ""


def plain_log(axes: Axes) -> None:
    """Ticks of a logarithmic axis as 0.3, not as a power of ten."""
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(_Sparse(minor_thresholds=(1, 0.4)))


def _marker(x):
    return {"marker": "o", "markersize": 4} if len(x) < 3 else {}


def _steps(axes, epochs, name, colour, dashes, label):
    x, y = series(epochs, name)
    if len(x):
        axes.step(x, y, dashes, where="mid", color=colour, label=label, **_marker(x))


def _finish(axes, legend):
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if legend and axes.lines:
        axes.legend(frameon=False)


def _count_cells(axes, matrix, dark, class_names):
    ticks = range(len(matrix))
    names = [short(name) for name in class_names]
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(ticks, names, parse_math=False)
    for (i, j), count in np.ndenumerate(matrix):
        if count:
            style = {"weight": "bold"} if i == j else {"color": "white" if dark[i, j] else "black"}
            axes.text(j, i, f"{count:,}", ha="center", va="center", fontsize=8, **style)


def _list_confusions(axes, matrix, class_names, count=20):
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [np.unravel_index(i, matrix.shape) for i in order if wrong.flat[i]]
    lines = [
        f"{wrong[i, j]:4d}  {short(class_names[i], 18)} ({i}) as {short(class_names[j], 18)} ({j})"
        for i, j in pairs
    ]
    text = "\n".join(["most frequent confusions", "", *lines])
    place = {"transform": axes.transAxes, "va": "top"}
    axes.text(1.03, 1, text, fontsize=8, linespacing=1.5, parse_math=False, **place)


def _notice(text):
    figure = Figure((5, 1))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
