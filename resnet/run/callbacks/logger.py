"""What experiment trackers are told of a run, and what happens when one does not answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from resnet.errors import UserError
from resnet.run.callbacks.base import Callback
from resnet.run.directory import flat
from resnet.run.epoch_record import figures
from resnet.run.epoch_record import flat as flat_record

log = logging.getLogger(__name__)


class Logger(Callback):
    """Tells an experiment tracker the configuration, each epoch, the result and the pictures of a run.

    A run that goes on is the same run there. Training does not begin before the tracker has answered:
    UserError says what to do. Later it goes on without: what was not sent is tried again after each epoch and
    at the end, and what is missing then is said.

    A subclass names the tracker (`service`), its `package` and the extra that brings it (`extra`), and what
    helps where it does not answer (`cure`); it has `begin`, `send_epoch`, `send_result`, `send_file` and
    `end`, which may raise anything. `id` is the tracker's name of the run, None until `begin` has set it.

    Args:
        log_model: whether the weights of the finished network are sent, too.
    """

    service = package = extra = cure = ""

    def __init__(self, log_model: bool = False) -> None:
        super().__init__()
        self.log_model = log_model
        self.id: Any = None  # a name once begun
        self.sent = 0  # epochs
        self._begun = self._silent = False

    def begin(self) -> None:
        """Open the run `id`, or a new one and set `id`."""
        raise NotImplementedError

    def send_epoch(self, epoch: int, values: Mapping[str, float], ended_at: float) -> None:
        """Figures by path, such as `validation/accuracy`; the first epoch is 1, it ended at `time.time()`."""
        raise NotImplementedError

    def send_result(self, values: Mapping[str, float]) -> None:
        """The numbers of result.json by path, such as `result/test/accuracy`."""
        raise NotImplementedError

    def send_file(self, path: Path) -> None:
        """A picture of the run directory, PNG or SVG, or the weights."""
        raise NotImplementedError

    def end(self, status: str) -> None:
        """The run is over: `finished`, `failed` or `interrupted`."""
        raise NotImplementedError

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration, with what it interpolates; values by their dotted names."""
        tree: Any = OmegaConf.to_container(OmegaConf.create(self.run.config_text), resolve=True)
        return flat(tree)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if find_spec(self.package) is None:
            raise UserError(f"{self.service} is not installed: pip install '.[{self.extra}]'")

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._begun:
            return
        try:
            self._begin()
        except Exception as error:
            raise UserError(f"{self.service}: {_line(error)}\n{self.cure}") from error

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        try:
            self._send_epochs()
            self._silent = False
        except Exception as error:
            if not self._silent:
                log.warning("%s has not got epoch %d: %s", self.service, self.sent + 1, _line(error))
                log.warning("training goes on; it is tried again after each epoch")
            self._silent = True

    def close(self) -> None:
        """Send what is left, and say of what that was not possible."""
        finished = self.run.result is not None
        if not (self._begun or finished):
            return
        left = [] if self._begun else [("its beginning", self._begin)]
        left.append((f"epochs from {self.sent + 1} on", self._send_epochs))
        if finished:
            left += [("the result", self._send_result), ("the pictures", self._send_files)]
        left.append(("its end", self._end))
        for i, (_, send) in enumerate(left):
            try:
                send()
            except Exception as error:
                names = ", ".join(name for name, _ in left[i:])
                log.warning("%s has not got %s of the run: %s", self.service, names, _line(error))
                return

    def state(self) -> dict[str, Any]:
        return {"id": self.id, "sent": self.sent}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.id, self.sent = state["id"], state["sent"]

    def _begin(self):
        self.begin()
        self._begun = True

    def _send_epochs(self):
        for record in self.trainer.history[self.sent :]:
            self.send_epoch(record["epoch"], figures(record), record["time"]["ended_at"])
            self.sent += 1

    def _send_result(self):
        numbers = {
            f"result/{path}": value
            for path, value in flat_record(self.run.result).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self.send_result(numbers)

    def _send_files(self):
        directory = self.run.directory
        for path in [*directory.pictures(), *([directory.model] if self.log_model else [])]:
            self.send_file(path)

    def _end(self):
        self.end(self.run.directory.result()["status"])


def _line(error):
    """The first line of an error, for these libraries add advice that is not for users of this program."""
    return str(error).partition("\n")[0] or type(error).__name__
