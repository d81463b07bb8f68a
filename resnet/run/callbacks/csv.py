"""The epochs as a table."""

from __future__ import annotations

import csv

from resnet.files import replacing
from resnet.run.callbacks.base import AFTER, Callback
from resnet.run.record import flat


class MetricsCsv(Callback):
    """metrics.csv: one row per epoch, whole at any time. Equal runs leave equal files, so it has no times."""

    order = AFTER

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._write()

    def _write(self):
        untimed = ({k: v for k, v in record.items() if k != "time"} for record in self.trainer.history)
        rows = [flat(record) for record in untimed]
        with (
            replacing(self.run.directory.metrics) as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            if rows:
                writer.writeheader()
            writer.writerows(rows)
