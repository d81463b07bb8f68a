"""What Weights & Biases is told of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from resnet.errors import UserError
from resnet.run.callbacks.logger import Logger

# Seconds to wait at the beginning and at the end, when it sends what it has written beside the run.
PATIENCE: dict[str, Any] = {"init_timeout": 30.0, "finish_timeout": 60.0, "finish_timeout_raises": True}


class Wandb(Logger):
    """A run of Weights & Biases (`pip install '.[wandb]'`), which keeps its files in the run directory.

    Args:
        project: the name that runs are gathered under.
        entity: the user or team it belongs to; None for the one that is logged in.
        mode: `online`; `offline` only writes the files, for `wandb sync`; `disabled` does nothing.
        log_model: whether the weights of the finished network are sent, too.
    """

    service = "Weights & Biases"
    package = extra = "wandb"
    cure = "run wandb login; or give callbacks.wandb.mode=offline, or ~callbacks.wandb"

    def __init__(
        self,
        project: str = "resnet",
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] = "online",
        log_model: bool = False,
    ) -> None:
        super().__init__(log_model)
        self.project, self.entity, self.mode = project, entity, mode
        self.opened: Any = None

    def begin(self) -> None:
        import wandb

        directory = str(self.run.directory.path.resolve())
        self.opened = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            name=self.run.name,
            dir=directory,
            id=self.id,
            resume="allow" if self.id else None,
            settings=wandb.Settings(**PATIENCE),
        )
        self.id = self.opened.id
        self.opened.config.update({**self.config, "directory": directory}, allow_val_change=True)

    def send_epoch(self, epoch: int, values: Mapping[str, float], ended_at: float) -> None:
        self.opened.log(dict(values), step=epoch)

    def send_result(self, values: Mapping[str, float]) -> None:
        self.opened.summary.update(dict(values))

    def send_file(self, path: Path) -> None:
        import wandb

        if path.suffix in (".png", ".svg"):
            drawn = wandb.Image(str(path)) if path.suffix == ".png" else wandb.Html(path.read_text("utf-8"))
            self.opened.log({path.stem: drawn}, step=len(self.trainer.history))
        else:
            weights = wandb.Artifact(f"model-{self.id}", type="model")
            weights.add_file(str(path), policy="immutable")  # from where it lies, without a copy
            self.opened.log_artifact(weights)

    def end(self, status: str) -> None:
        try:
            self.opened.finish(exit_code=0 if status == "finished" else 1)
        except TimeoutError as error:
            raise UserError(f"send what is left by: wandb sync {Path(self.opened.dir).parent}") from error
