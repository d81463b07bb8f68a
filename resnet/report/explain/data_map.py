"""When each training image was learned and forgotten, and which labels are the likeliest to be wrong.

Swayamdipta et al. 2020, "Dataset cartography", section 2: confidence is the mean over the epochs of the
probability of an image's label, variability its standard deviation, correctness the share of epochs in which
it was right; labels that are wrong have low confidence (section 5). Toneva et al. 2019, "An empirical study
of example forgetting", definition 2.1: an image is forgotten when it was right in one epoch and is wrong in
the next. All training images count, as `callbacks=[default,outcomes]` saw them in the steps of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter
from tqdm import tqdm

from resnet.errors import UserError
from resnet.report import drawing
from resnet.report.explain import Explanation
from resnet.report.figures import short

if TYPE_CHECKING:
    from resnet.report.subject import Sample, Subject


POINTS = 4000  # of the map, of more images
SUSPECTS = (2, 12)  # rows and columns of the sheet
MOST_FORGOTTEN = 6  # events that have a bar of their own
TOP = 0.1  # the share of images among which wrong labels are looked for
OF_EPOCHS: tuple[tuple[str, dict], ...] = (
    ("right in this epoch", {"color": drawing.COLOURS[0], "ls": "-"}),
    ("right in this or an earlier one", {"color": drawing.COLOURS[1], "ls": "--"}),
    ("right in each since the first time", {"color": drawing.COLOURS[2], "ls": ":", "lw": 2.5}),
)


def explain(networks: Sequence[Subject], dataset: Sample) -> Explanation:
    rows, sentences, panels = [], [], []
    for network in tqdm(networks, desc="data_map", leave=False, disable=None):
        outcomes = network.outcomes()
        if not _is_of(network, outcomes["label"]):
            raise UserError(
                f"{network.label}: the training images are not those of the run, in its order\n"
                "leave data, and the names of the files, as they were"
            )
        right, found = cartography(**outcomes)
        wrong = _wrong(network.dataset)
        panels.append((network, right, found, wrong))
        rows += _rows(network, found, wrong)
        sentences.append(_sentence(network.label, found, wrong))
    return Explanation(_draw(panels), rows, " ".join(sentences))


def _is_of(network, labels):
    """Whether the training images are those, one by one, that the run left outcomes of, with these labels."""
    train, recorded = network.dataset.train, network.run.parts()["train"]
    return np.array_equal(labels, train.labels) and np.array_equal(recorded[: len(train)], train.hashes)


def cartography(
    confidence: np.ndarray, predicted: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What the outcomes of N images over E epochs say of each.

    Args:
        confidence, predicted: float and int `(E, N)`: the probability of the label, and the likeliest class,
            negative in an epoch that left the image out.
        label: int `(N,)`.

    Returns bool `(E, N)`, whether an image was right when it was last seen, and arrays `(N,)` by name:
    `confidence`, `variability` and `correctness`; `learned`, the first epoch, from 1, in which it was right,
    or 0; `forgotten`, how often it was right and then wrong; `seen_as`, the class that it was taken for most
    often; `rank`, from 1, of the likeliest wrong label.
    """
    seen = predicted >= 0
    epochs = np.maximum(seen.sum(0), 1)
    given = np.where(seen, confidence, 0).astype(np.float64)
    mean = given.sum(0) / epochs
    spread = np.sqrt((np.where(seen, given - mean, 0) ** 2).sum(0) / epochs)
    right = predicted == label
    correctness = right.sum(0) / epochs
    for epoch in range(1, len(right)):
        right[epoch] |= ~seen[epoch] & right[epoch - 1]
    votes = np.array([(predicted == k).sum(0) for k in range(max(predicted.max(), label.max()) + 1)])
    rank = np.empty(len(label), int)
    rank[np.argsort(mean, kind="stable")] = np.arange(1, len(label) + 1)
    return right, {
        "confidence": mean,
        "variability": spread,
        "correctness": correctness,
        "learned": np.where(right.any(0), right.argmax(0) + 1, 0),
        "forgotten": (right[:-1] & ~right[1:]).sum(0),
        "seen_as": votes.argmax(0),
        "rank": rank,
    }


def found_share(rank: np.ndarray, wrong: np.ndarray, top: float = TOP) -> float:
    """The share of the `wrong` `(N,)` that are among the first `top` of all by `rank` `(N,)`."""
    return float(np.mean(rank[wrong] <= top * len(rank)))


def _wrong(dataset):
    """Which training labels were made wrong on purpose, bool `(N,)`, or None where that was not done."""
    return None if dataset.true_labels is None else dataset.train.labels != dataset.true_labels


def _rows(network, found, wrong):
    names, train = network.network.class_names, network.dataset.train
    known: dict[str, np.ndarray] = {} if wrong is None else {"made_wrong": wrong}
    columns = {name: values.tolist() for name, values in {**found, **known}.items() if name != "seen_as"}
    return [
        {
            "network": network.label,
            "image": i,
            "name": train.name(i),
            "label": names[train.labels[i]],
            "seen_as": names[found["seen_as"][i]],
            **dict(zip(columns, values, strict=True)),
        }
        for i, values in enumerate(zip(*columns.values(), strict=True))
    ]


def _sentence(label, found, wrong):
    never, forgotten = found["learned"] == 0, found["forgotten"] > 0
    text = f"{label}: of {len(never):,} training images {np.mean(never):.1%} were never right"
    text += f", {np.mean(forgotten):.1%} were forgotten at least once."
    if wrong is not None:
        text += f" Of {wrong.sum():,} labels made wrong {found_share(found['rank'], wrong):.1%} are "
        text += f"among the {TOP:.0%} of the least confidence."
    return text


def _draw(panels):
    figure = drawing.figure((14, 7.6 * len(panels)))
    halves = figure.subfigures(len(panels), 1, squeeze=False)[:, 0]
    for half, (network, right, found, wrong) in zip(halves, panels, strict=True):
        half.suptitle(network.label).set_parse_math(False)
        above, below = half.subfigures(2, 1, height_ratios=(1.25, 1))
        places, epochs, events = above.subplots(1, 3)
        _draw_map(places, found, wrong)
        _draw_epochs(epochs, right)
        _draw_forgetting(events, found, wrong)
        _draw_suspects(below, network, found, wrong)
    return figure


def _draw_map(axes, found, wrong):
    """Where each image lies; those made wrong are ringed."""
    drawn = np.random.default_rng(0).permutation(len(found["rank"]))[:POINTS]
    x, y, right = (found[name][drawn] for name in ("variability", "confidence", "correctness"))
    points = axes.scatter(x, y, c=right, s=9, cmap=drawing.MAP, vmin=0, vmax=1, lw=0)
    axes.figure.colorbar(points, ax=axes, label="correctness", format=PercentFormatter(1), fraction=0.05)
    if wrong is not None:
        ringed = wrong[drawn]
        ring = {"facecolors": "none", "edgecolors": "black", "lw": 0.7, "s": 22}
        axes.scatter(x[ringed], y[ringed], **ring, label="made wrong on purpose")
        drawing.legend(axes, loc="upper right", fontsize=8)
    axes.set(title="data map", xlabel="variability", ylabel="confidence in the label")
    drawing.share_axis(axes)


def _draw_epochs(axes, right):
    """By epoch how many were right, had been so, and stayed so."""
    ever = np.logical_or.accumulate(right, 0)
    steady = ever & ~np.logical_or.accumulate(np.r_[right[:1] & False, right[:-1] & ~right[1:]], 0)
    for (label, style), shown in zip(OF_EPOCHS, (right, ever, steady), strict=True):
        axes.plot(range(1, len(right) + 1), shown.mean(1), **style, label=label)
    axes.set(title="training images learned, and kept", xlabel="epoch")
    drawing.share_axis(axes)
    drawing.legend(axes, loc="lower right", fontsize=8)


def _draw_forgetting(axes, found, wrong):
    """How often images were forgotten, as shares of all and of those made wrong."""
    times = np.minimum(found["forgotten"], MOST_FORGOTTEN)
    kinds = [times == n for n in range(MOST_FORGOTTEN + 1)]
    never = found["learned"] == 0
    kinds = [kind & ~never for kind in kinds] + [never]
    groups: list[tuple[str, np.ndarray, dict]] = [
        ("all images", np.ones(len(never), bool), {"color": drawing.COLOURS[0]})
    ]
    if wrong is not None:
        style = {"color": "white", "edgecolor": drawing.COLOURS[1], "hatch": "////"}
        groups.append(("made wrong on purpose", wrong, style))
    width = 0.8 / len(groups)
    for i, (label, of, style) in enumerate(groups):
        at = np.arange(len(kinds)) - 0.4 + width * (i + 0.5)
        axes.bar(at, [kind[of].mean() for kind in kinds], width, label=label, **style)
    names = [*map(str, range(MOST_FORGOTTEN)), f"{MOST_FORGOTTEN}+", "never\nlearned"]
    axes.set_xticks(range(len(kinds)), names)
    axes.set(title="times forgotten", ylabel="share of images")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    drawing.plain(axes)
    drawing.legend(axes, loc="upper center", fontsize=8)


def _draw_suspects(figure, network, found, wrong):
    """The images whose labels are the likeliest to be wrong; those made wrong are framed."""
    names, train = network.network.class_names, network.dataset.train
    framed = "" if wrong is None else "; framed: made wrong on purpose"
    figure.suptitle(f"likeliest wrong labels, and what the network takes them for{framed}", fontsize=11)
    grid = figure.subplots(*SUSPECTS).ravel()
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    order = np.argsort(found["rank"])[: len(grid)]
    for axes, i, picture in zip(grid, order, train.batch(order)[0], strict=False):
        axes.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=255)
        caption = f"{short(names[train.labels[i]])}?\n{short(names[found['seen_as'][i]])}"
        axes.set_title(caption, fontsize=8, parse_math=False)
        if wrong is not None and wrong[i]:
            axes.spines[:].set(visible=True, linewidth=4, color=drawing.COLOURS[1])
