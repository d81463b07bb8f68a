"""How far confidence can be believed, as the network is and with a temperature fitted on validation images.

Guo et al. 2017, "On calibration of modern neural networks": reliability diagrams (section 2), expected
calibration error (equation 3) and temperature scaling (section 4.2). All of the run's validation and test
images count, by the logits that it left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from tqdm import tqdm

from resnet.report import drawing
from resnet.report.evaluation import BINS, calibration_error, softmax
from resnet.report.explain import Explanation

if TYPE_CHECKING:
    from resnet.report.subject import Sample, Subject


WHICH = ("as trained", "tempered")


def explain(networks: Sequence[Subject], dataset: Sample) -> Explanation:
    rows, sentences = [], []
    for network in tqdm(networks, desc="calibration", leave=False, disable=None):
        logits, labels = network.logits_of("test")
        found = temperature(*network.logits_of("validation"))
        errors = []
        for which, by in zip(WHICH, (1.0, found), strict=True):
            probabilities = softmax(logits / by)
            errors.append(calibration_error(probabilities, labels))
            rows += [
                {"network": network.label, "which": which, "temperature": by, "error": errors[-1]} | one
                for one in reliability(probabilities, labels)
            ]
        sentences.append(
            f"{network.label}: calibration error {errors[0]:.2%}, at temperature {found:.3g} {errors[1]:.2%}."
        )
    return Explanation(_draw(networks, rows), rows, " ".join(sentences))


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T > 0 at which softmax(logits / T) gives the labels the greatest likelihood; logits `(N, K)`."""
    logits = logits.astype(np.float64)

    def loss(log_t):
        return -log_softmax(logits / np.exp(log_t), 1)[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=np.log([0.01, 100]), method="bounded").x))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """By bin of confidence, open below and closed above: its ends, how many images, their means.

    The means, of confidence and of accuracy, are nan in a bin without images.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    ends = np.arange(bins + 1) / bins
    found = []
    for low, high in zip(ends, ends[1:], strict=False):
        inside = (confidence > low) & ((confidence <= high) | (high == 1))
        mean = {"confidence": confidence, "accuracy": right}
        found.append(
            {"low": low, "high": high, "images": int(inside.sum())}
            | {name: float(v[inside].mean()) if inside.any() else float("nan") for name, v in mean.items()}
        )
    return found


def _draw(networks, rows):
    figure = drawing.figure((1.5 + 4.5 * len(networks), 6))
    grid = figure.subplots(2, len(networks), squeeze=False, sharex=True, height_ratios=(2, 1))
    for network, (axes, counts) in zip(networks, grid.T, strict=True):
        axes.plot([0, 1], [0, 1], ":", color=drawing.GREY, lw=1.5)
        for which, style, face in zip(WHICH, drawing.STYLES, (None, "none"), strict=True):
            own = [row for row in rows if (row["network"], row["which"]) == (network.label, which)]
            filled = [row for row in own if row["images"]]
            label = f"{which}, T = {own[0]['temperature']:.3g}: error {own[0]['error']:.2%}"
            for row in filled:
                size = 4 + 14 * (row["images"] / sum(r["images"] for r in own)) ** 0.5
                axes.plot(
                    row["confidence"],
                    row["accuracy"],
                    **style | {"ls": "", "clip_on": False, "mfc": face},
                    ms=size,
                )
            at = [(row["low"] + row["high"]) / 2 for row in own]
            counts.step(
                at,
                [row["images"] for row in own],
                where="mid",
                color=style["color"],
                ls=style["ls"],
                label=label,
            )
        axes.set_title(network.label, parse_math=False)
        drawing.share_axis(axes)
        drawing.plain(counts)
        axes.set_ylabel("accuracy (large: many images)")
        counts.set(yscale="symlog", ylim=(0, None), xlabel="confidence", ylabel="test images")
        counts.yaxis.set_major_formatter("{x:g}")
        counts.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        drawing.legend(counts, loc="upper left", fontsize=8)
    return figure
