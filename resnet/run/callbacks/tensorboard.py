"""What TensorBoard shows of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from resnet.run.callbacks.base import AFTER, Callback
from resnet.run.epoch_record import SPLITS, figures
from resnet.run.events import (
    EventFile,
    end_event,
    hparams_event,
    picture_event,
    scalar_event,
    start_event,
    text_event,
)

if TYPE_CHECKING:
    import numpy as np

SCALARS = ".scalars"  # how the names of event files with scalars end


class TensorBoard(Callback):
    """Curves by epoch, pictures, the configuration, and a row among the HParams.

    Splits have the same names of scalars in directories of their own, and so share a chart.
    """

    order = AFTER

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.files: dict[str, EventFile] = {}
        # A run that goes on writes its curves again: whoever reads them sees each point once.
        for old in self.run.directory.tensorboard.rglob(f"*{SCALARS}"):
            old.unlink()
        self._add(".", hparams_event(self.run.hparams, self.run.name))
        self._add("train", text_event("config", f"```yaml\n{self.run.config_text}\n```"))
        for epoch in range(len(self.trainer.history)):
            self.on_epoch_end(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        record = self.trainer.history[epoch]
        ended = record["time"]["ended_at"]
        for path, value in figures(record).items():
            split, _, name = path.partition("/")
            place, tag = (split, name) if split in SPLITS else ("train", path)
            self._add(place, scalar_event(tag, value, epoch + 1, ended))

    def on_pictures(self, split: str, pictures: Mapping[str, bytes]) -> None:
        for name, data in pictures.items():
            self._add(split, picture_event(name, data, len(self.trainer.history)))

    def on_scored(self, scores: Mapping[str, Mapping[str, float]], logits: Mapping[str, np.ndarray]) -> None:
        epoch = len(self.trainer.history)
        for split, found in scores.items():
            if split not in self.trainer.history[-1]:
                for name, value in found.items():
                    self._add(split, scalar_event(name, value, epoch, time.time()))
        self._add(".", end_event(epoch))

    def _add(self, split, event):
        """One event for the directory `split`."""
        if split not in self.files:
            self.files[split] = EventFile(self.run.directory.tensorboard / split, SCALARS)
            # A TensorBoard that is looking on drops what it has read of the files that are gone.
            self.files[split].add_event(start_event())
        self.files[split].add_event(event)
