"""What `explain.py` shows of runs, of networks at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resnet.report import explain as pictures
from resnet.report.subject import Subject, drawn
from resnet.run.trained import Trained

if TYPE_CHECKING:
    from resnet.training.trainer import Trainer


def explain(
    what: str, trainers: Mapping[str, Trainer], *, count: int = 500, seed: int = 0, **options: Any
) -> pictures.Explanation:
    """The picture `what` of networks whose training is over: `figure`, `rows` of numbers and a `sentence`.

    Args:
        what: one of `report.explain.names()`.
        trainers: one or two by the label that the picture has for them. The images are those of the first.
        count: training and test images that are looked at, at most so many of each.
        seed: draws them.
        options: the picture's own, as in `conf/explain.yaml`.

    Raises ConfigError for another name, and UserError for a picture of what a run has left in its directory.
    """
    pictures.check([what])
    networks = [
        Subject(Trained(trainer.model, trainer.preprocessing, trainer.dataset.class_names), label)
        for label, trainer in trainers.items()
    ]
    dataset = next(iter(trainers.values())).dataset
    return pictures.find(what)(networks, drawn(dataset, count, seed), **options)
