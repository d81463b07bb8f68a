"""How weights and gradients are distributed."""

from __future__ import annotations

import numpy as np

from resnet.run.callbacks.base import AFTER, Callback
from resnet.run.events import EventFile, histogram_event


class Histograms(Callback):
    """After each epoch TensorBoard's histograms of the weights, and of the gradients of one batch.

    The batch is the first of the training images, augmented as in that step.
    """

    order = AFTER

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.events = EventFile(self.run.directory.tensorboard / "histograms")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        trainer = self.trainer
        untrained = trainer.model.non_trainable_variables
        before = [np.array(variable) for variable in untrained]
        gradients = trainer.gradients(np.arange(trainer.batch_size, dtype=np.int32), trainer.step)
        for variable, value in zip(untrained, before, strict=True):
            variable.assign(value)
        for variable, gradient in zip(trainer.model.trainable_variables, gradients, strict=True):
            for kind, values in ("weights", np.array(variable)), ("gradients", gradient):
                self.events.add_event(histogram_event(f"{kind}/{variable.path}", values, epoch + 1))
