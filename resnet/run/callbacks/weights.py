"""The weights that a training went through."""

from __future__ import annotations

from resnet.files import replace_arrays
from resnet.models import unstack
from resnet.run.callbacks.base import Callback


class Weights(Callback):
    """weights/epoch_00012.npz: all weights by block, as `models.unstack` names them, for the trajectory.

    Before the first step, as epoch 0, and after every `every` epochs.

    Args:
        every: epochs from one file to the next.
    """

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        self.every = every

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        done = len(self.trainer.history)
        self.run.directory.weights.mkdir(exist_ok=True)
        for epoch, path in self.run.directory.kept_weights().items():
            if epoch > done:  # of a training that began anew
                path.unlink()
        if self.trainer.step == 0:
            self._keep(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if (epoch + 1) % self.every == 0:
            self._keep(epoch + 1)

    def _keep(self, epoch):
        replace_arrays(self.run.directory.weights_of(epoch), unstack(self.model))
