"""When each training image is learned and forgotten."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet.files import replace_arrays
from resnet.run.callbacks.base import Callback

log = logging.getLogger(__name__)
UNSEEN = -1  # in place of a class: the epoch left the image out


class Outcomes(Callback):
    """outcomes.npz: what the network made of each training image in each epoch, for the data map.

    `confidence` float16 `(E, N)` is the probability of the image's label and `predicted` int16 `(E, N)` the
    likeliest class, both in the training step that saw the image, before that step changed the weights: with
    dropout, augmented as it was then, and mixed with another where `mixup` or `cutmix` did so. `label` is
    int32 `(N,)`.
    """

    chief_only = False  # all workers compute the same steps
    needs_run = False
    needs_outcomes = True

    def __init__(self) -> None:
        super().__init__()
        self.confidence: list[np.ndarray] = []
        self.predicted: list[np.ndarray] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        while len(self.confidence) <= epoch:  # epochs before a resumed run had this are there, unseen
            images = len(self.trainer.dataset.train)
            self.confidence.append(np.zeros(images, np.float16))
            self.predicted.append(np.full(images, UNSEEN, np.int16))

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        seen, found = self.trainer.indices, self.trainer.outcomes
        self.confidence[-1][seen], self.predicted[-1][seen] = found[..., 0], found[..., 1]

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.run and self.trainer.chief:
            labels = self.trainer.dataset.train.labels
            replace_arrays(self.run.directory.outcomes, {"label": labels, **self.state()})

    def state(self) -> dict[str, Any]:
        return {"confidence": np.array(self.confidence), "predicted": np.array(self.predicted)}

    def restore(self, state: Mapping[str, Any]) -> None:
        shape, images = state["confidence"].shape, len(self.trainer.dataset.train)
        if shape[1:] == (images,):
            self.confidence, self.predicted = list(state["confidence"]), list(state["predicted"])
        else:
            log.warning("outcomes of %d epochs are of other training images, and left out", shape[0])
