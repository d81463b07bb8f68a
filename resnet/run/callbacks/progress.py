"""How the training goes, on the terminal or in the log."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm

from resnet.run.callbacks.base import AFTER, Callback
from resnet.run.epoch_record import SPLITS, as_text, split_text

log = logging.getLogger(__name__)


class Progress(Callback):
    """A live bar on a terminal, and one line per epoch: in the log, or on stdout where none is kept."""

    order = AFTER
    needs_run = False

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.bar = tqdm(
            total=self.trainer.total_steps,
            initial=self.trainer.step,
            unit="step",
            disable=not (sys.stderr and sys.stderr.isatty()),
            dynamic_ncols=True,
        )

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.trainer.first_step_at is None:
            self.bar.set_description("compiling the first step")

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.bar.update(self.trainer.step - self.bar.n)
        self.bar.set_description(f"epoch {len(self.trainer.history) + 1}/{self.params['epochs']}")
        figures = [f"{name} {as_text(name, logs[name])}" for name in ("loss", "accuracy") if name in logs]
        rate = f"rate {logs['learning_rate']:.2g}"
        self.bar.set_postfix_str(" ".join([f"{logs['images_per_second']:,.0f} images/s", *figures, rate]))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        record = self.trainer.history[epoch]
        parts = [split_text(record["train"])]
        parts += [f"{split} {split_text(record[split])}" for split in SPLITS[1:] if split in record]
        parts.append(f"rate {record['rate']['learning_rate']:.3g}")
        if "images_per_second" in record["time"]:
            parts.append(f"{record['time']['images_per_second']:,.0f} images/s")
        line = f"epoch {epoch + 1}/{self.params['epochs']}: {' | '.join(parts)}"
        with tqdm.external_write_mode():
            if log.isEnabledFor(logging.INFO):
                log.info(line)
            else:  # as in a notebook, where nothing has set logging up
                print(line, flush=True)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.bar.close()
