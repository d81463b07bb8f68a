"""What MLflow is told of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from resnet.run.callbacks.logger import Logger, log

# Its own patience is minutes at a time, for each of which a training would stand still.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
BATCH = 100  # parameters that a request may hold


class MLflow(Logger):
    """A run of MLflow (`pip install '.[mlflow]'`), whose tag `directory` is that of the run.

    Its store is a server, or a database on this machine (`sqlite:///mlflow.db`); that of plain files, which
    MLflow has given up, is refused by it.

    Args:
        tracking_uri: where the store is; None for MLflow's own choice: the environment variable
            MLFLOW_TRACKING_URI, or else mlflow.db in the working directory, with files in mlruns.
        experiment: the name that runs are gathered under.
        log_model: whether the weights of the finished network are sent, too.
    """

    service = "MLflow"
    package = extra = "mlflow"
    cure = "give callbacks.mlflow.tracking_uri=sqlite:///mlflow.db to keep it here, or ~callbacks.mlflow"

    def __init__(
        self, tracking_uri: str | None = None, experiment: str = "resnet", log_model: bool = False
    ) -> None:
        super().__init__(log_model)
        self.tracking_uri, self.experiment = tracking_uri, experiment

    def begin(self) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self.client = MlflowClient(self.tracking_uri)
        if self.id is None:
            tags = {"directory": str(self.run.directory.path.resolve())}
            run = self.client.create_run(self._experiment(), tags=tags, run_name=self.run.name)
            self.id = run.info.run_id
        else:
            self.client.update_run(self.id, status="RUNNING")
        self._send_config()

    def send_epoch(self, epoch: int, values: Mapping[str, float], ended_at: float) -> None:
        self._send_metrics(values, epoch, ended_at)

    def send_result(self, values: Mapping[str, float]) -> None:
        last = self.trainer.history[-1]
        self._send_metrics(values, last["epoch"], last["time"]["ended_at"])

    def send_file(self, path: Path) -> None:
        self.client.log_artifact(self.id, str(path))

    def end(self, status: str) -> None:
        self.client.set_terminated(self.id, STATUS.get(status, "FAILED"))

    def _experiment(self):
        """Its number; of two jobs of a sweep that make it at once the later one takes the other's."""
        from mlflow import MlflowException

        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return self.client.create_experiment(self.experiment)
            except MlflowException:
                found = self.client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        return found.experiment_id

    def _send_config(self):
        """Parameters, which are for good there: of a run that goes on with others that is said."""
        from mlflow.entities import Param

        there = self.client.get_run(self.id).data.params
        here = {name: str(value) for name, value in self.config.items()}
        changed = [f"{name}={here[name]}" for name in here if there.get(name, here[name]) != here[name]]
        if changed:
            log.warning("MLflow keeps the parameters that the run began with, not %s", ", ".join(changed))
        new = [Param(name, value) for name, value in here.items() if name not in there]
        for first in range(0, len(new), BATCH):
            self.client.log_batch(self.id, params=new[first : first + BATCH])

    def _send_metrics(self, values, step, seconds):
        from mlflow.entities import Metric

        metrics = [Metric(name, value, int(1000 * seconds), step) for name, value in values.items()]
        self.client.log_batch(self.id, metrics=metrics)
