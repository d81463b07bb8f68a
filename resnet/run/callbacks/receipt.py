"""What it takes to repeat the first steps of a run, and to see that they are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import keras
import numpy as np

from resnet.errors import UserError
from resnet.run.callbacks.base import Callback
from resnet.run.changes import changes
from resnet.training.environment import circumstances


class Receipt(Callback):
    """receipt.json: losses of the first steps, hashes of the weights before and after, and where that was.

    `verify.py` repeats these steps by the configuration that they were trained by, which is in it, and
    compares. A training of fewer steps, or one that was cut off or took another configuration before, leaves
    a receipt of those.

    Args:
        first_steps: how many.
    """

    chief_only = False  # calls end at the same step for all workers, who read the weights together
    needs_run = False

    def __init__(self, first_steps: int = 20) -> None:
        super().__init__()
        self.first_steps = first_steps
        self.losses: list[float] = []
        self.before: str | None = None
        self.after: str | None = None
        self.configurations: list[dict[str, Any]] = []  # of a run, from which step on

    def steps_to_next(self, step: int) -> int | None:
        """Until the last of the first steps is done."""
        return self.first_steps - step if step < self.first_steps else None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.trainer.step == 0:
            self.losses, self.before = [], fingerprint(self.trainer.model)
            self.configurations = [{"step": 0, "text": self.run.config_text}] if self.run else []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        # A run that goes on from a checkpoint without this has no beginning to tell of.
        if self.before is None or self.trainer.step > self.first_steps:
            return
        self.losses += self.trainer.losses.tolist()
        self.after = fingerprint(self.trainer.model)
        if self.run and self.trainer.chief:
            self.run.directory.write_receipt(self.receipt())

    def receipt(self) -> dict[str, Any]:
        """What receipt.json holds: JSON keeps a float32 loss to the last bit."""
        return {
            "losses": self.losses,
            "weights_before": self.before,
            "weights_after": self.after,
            "images": self.trainer.dataset.train.checksum,
            "planned_steps": self.trainer.planned_steps,
            "circumstances": {
                "deterministic": self.trainer.deterministic,
                **circumstances(self.trainer.strategy),
            },
            "configurations": self.configurations,
        }

    def state(self) -> dict[str, Any]:
        return {
            "losses": self.losses,
            "before": self.before,
            "after": self.after,
            "configurations": self.configurations,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.losses, self.before, self.after = (state[name] for name in ("losses", "before", "after"))
        self.configurations = list(state.get("configurations", []))  # older checkpoints have none
        if not self.run or not self.configurations:
            return
        if changes(self.configurations[-1]["text"], self.run.config_text):
            self.configurations.append({"step": self.trainer.step, "text": self.run.config_text})
        if len(self.configurations) > 1:
            self.first_steps = min(self.first_steps, len(self.losses))
        if self.trainer.chief:
            self._write_configurations()

    def _write_configurations(self):
        """Change nothing else: data and circumstances of now may not be those of the first steps."""
        with suppress(UserError):  # there is none, or a damaged one
            if isinstance(said := self.run.directory.receipt(), dict):
                self.run.directory.write_receipt(said | {"configurations": self.configurations})


def fingerprint(model: keras.Model) -> str:
    """SHA-256 of all weights of a model in their order: shape, kind and bytes of each."""
    digest = hashlib.sha256()
    for variable in model.variables:
        array = np.ascontiguousarray(variable)
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
