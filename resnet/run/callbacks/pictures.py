"""What there is to see of the data and of the outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from resnet.errors import decoration
from resnet.run.callbacks.base import AFTER, Callback

if TYPE_CHECKING:
    import numpy as np


class Pictures(Callback):
    """PNG files in the run's directory, which TensorBoard shows, too.

    After the first step training images, as they are and as augmented; at the end the curves, what was taken
    for what, and the worst mistakes among the test images. One that cannot be drawn is a warning.
    """

    order = AFTER

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.data_shown = False

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._show_data()

    def on_scored(self, scores: Mapping[str, Mapping[str, float]], logits: Mapping[str, np.ndarray]) -> None:
        from resnet.report import evaluation, pictures

        self._show_data()
        history, dataset = self.trainer.history, self.trainer.dataset
        self._show("train", "the curves", lambda: pictures.of_history(history, self.trainer.model.name))
        probabilities = evaluation.softmax(logits["test"])
        self._show(
            "test",
            "the test images",
            lambda: pictures.of_predictions(probabilities, dataset.test, dataset.class_names),
        )

    def _show_data(self):
        """The training images, once, and not before the first step: it need not wait for Matplotlib."""
        if not self.data_shown:
            self.data_shown = True
            from resnet.report import pictures

            self._show("train", "the training images", lambda: pictures.of_data(self.trainer))

    def _show(self, split: str, what: str, draw: Callable[[], dict[str, bytes]]):
        found = {}
        with decoration(what):
            found = draw()
        self.run.show(split, found)
