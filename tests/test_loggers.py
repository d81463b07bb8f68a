"""What experiment trackers have got of a run, read from their own stores."""

import json
import os
import time

import keras
import pytest
import yaml

import resnet
from resnet.errors import UserError
from resnet.run.callbacks import Checkpoints, Logger, MetricsCsv, MLflow, Pictures, Wandb
from resnet.run.directory import RunDirectory
from tests.test_trainer import small_digits

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
CONFIG = {"seed": 3, "model": {"depth": 8}, "trainer": {"seed": "${seed}"}, "changes": "refuse"}
FLAT = {"seed": 3, "model.depth": 8, "trainer.seed": 3, "changes": "refuse"}


def fit(directory, logger, stop_in=None, config=None, changes_allowed=False, **others):
    """Three epochs of a linear classifier; of epoch `stop_in` only the beginning."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch + 1 == stop_in:
                raise KeyboardInterrupt

    dataset = small_digits(0.2)
    images = keras.Input(dataset.image_shape)
    model = keras.Model(images, keras.layers.Dense(10, name="dense")(keras.layers.Flatten()(images)))
    record = {"config.yaml": yaml.safe_dump(config or CONFIG), "overrides.yaml": "[]\n"}
    callbacks = {"checkpoints": Checkpoints(), "csv": MetricsCsv(), "logger": logger, "stop": Stop()} | others
    with resnet.Run(directory, record, changes_allowed=changes_allowed) as run:
        resnet.fit(model, dataset, epochs=3, batch_size=80, callbacks=callbacks, run=run)
    return RunDirectory.finished(directory)


class Kept(Logger):
    """A tracker in memory, with no answer to what is in `down`."""

    service, package, extra, cure = "Kept", "json", "kept", "mend it"

    def __init__(self, down=()):
        super().__init__()
        self.down, self.got = set(down), []

    def _take(self, what):
        if what in self.down:
            raise ConnectionError(f"no answer to {what}\nand advice")
        self.got.append(what)

    def begin(self):
        self._take("begin")
        self.id = self.id or "one"

    def send_epoch(self, epoch, values, ended_at):
        self._take(epoch)

    def send_result(self, values):
        self._take("result")

    def send_file(self, path):
        self._take(path.name)

    def end(self, status):
        self._take(status)


def test_what_was_not_sent_is_sent_later(tmp_path, caplog):
    class Back(Kept):
        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            self.down = {1} if epoch < 2 else set()

    logger = Back()
    fit(tmp_path, logger, pictures=Pictures())
    *first, end = logger.got
    assert first[:5] == ["begin", 1, 2, 3, "result"] and end == "finished"
    assert {"curves.png", "confusion.png", "architecture.svg"} <= set(first[5:])
    assert caplog.text.count("Kept has not got epoch 1: no answer to 1\n") == 1


def test_what_is_missing_at_the_end_is_said(tmp_path, caplog):
    fit(tmp_path, Kept({2, "result"}))
    assert (
        "has not got epochs from 2 on, the result, the pictures, its end of the run: no answer" in caplog.text
    )
    assert RunDirectory(tmp_path).result()["status"] == "finished"


@pytest.mark.slow
def test_no_training_begins_without_an_answer(tmp_path):
    logger = Kept({"begin"})
    with pytest.raises(UserError, match="^Kept: no answer to begin\nmend it$"):
        fit(tmp_path, logger)
    assert logger.got == [] and RunDirectory(tmp_path).epochs() == []
    logger.package = "no_such_package"
    with pytest.raises(UserError, match=r"^Kept is not installed: pip install '.\[kept\]'$"):
        fit(tmp_path, logger)


def test_the_end_of_a_failed_run_is_told(tmp_path):
    logger = Kept()
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, logger, stop_in=2)
    assert logger.got == ["begin", 1, "interrupted"]


def expected(directory):
    """The figures of metrics.csv by path, one for each epoch."""
    rows = directory.epochs()
    paths = {path for row in rows for path in row} - {"epoch", "step"}
    return {path: [row[path] for row in rows] for path in paths}


# MLflow


@pytest.fixture
def store(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)  # where it puts files
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.slow
def test_mlflow_has_a_run_that_went_on_as_one(tmp_path, store, caplog):
    from mlflow import MlflowClient

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", MLflow(store, "digits", log_model=True), stop_in=3)
    client = MlflowClient(store)

    def the_run():
        (found,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
        return found

    assert the_run().info.status == "KILLED"
    changed = CONFIG | {"seed": 4}
    directory = fit(
        tmp_path / "run", MLflow(store, "digits", log_model=True), None, changed, True, pictures=Pictures()
    )
    run = the_run()
    assert run.info.status == "FINISHED"
    assert run.data.tags["directory"] == str(directory.path)
    assert run.data.params == {name: str(value) for name, value in FLAT.items()}
    assert "keeps the parameters that the run began with, not seed=4, trainer.seed=4" in caplog.text
    for path, values in expected(directory).items():
        history = sorted(client.get_metric_history(run.info.run_id, path), key=lambda metric: metric.step)
        assert [(m.step, m.value) for m in history] == list(enumerate(values, 1)), path
    result = directory.result()
    assert run.data.metrics["result/test/accuracy"] == result["test"]["accuracy"]
    assert run.data.metrics["result/parameters"] == 32 * 32 * 3 * 10 + 10
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"curves.png", "confusion.png", "architecture.svg", "model.keras"} <= files


def test_mlflow_that_cannot_be_reached(tmp_path, store):
    with pytest.raises(UserError, match="MLflow: .*127.0.0.1.*\ngive callbacks.mlflow.tracking_uri=sqlite"):
        fit(tmp_path / "run", MLflow("http://127.0.0.1:9"))


# Weights & Biases


def records(file):
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log format, each a protobuf message.

    github.com/google/leveldb/blob/main/doc/log_format.md: blocks of 32 KiB; of a fragment the checksum (4),
    the length (2) and its kind (1: whole, 2: first, 3: middle, 4: last).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 2**15 - place % 2**15 < 7:
            place += 2**15 - place % 2**15
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield Record.FromString(whole)
            whole = b""


def whole(file):
    """The records of a finished run, which another process writes and may still be writing."""
    deadline = time.monotonic() + 30
    while not (found := list(records(file))) or not found[-1].HasField("exit"):
        assert time.monotonic() < deadline, "the run has no end"
        time.sleep(0.1)
    return found


def items(changes):
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in changes}


@pytest.mark.slow
def test_wandb_has_a_run_that_went_on_as_one(tmp_path):
    pytest.importorskip("wandb")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, Wandb("digits", mode="offline"), stop_in=3)
    directory = fit(tmp_path, Wandb("digits", mode="offline", log_model=True), pictures=Pictures())
    parts = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(parts) == 2
    told = [record for part in parts for record in whole(part)]
    runs = [record.run for record in told if record.HasField("run")]
    assert {(run.project, run.run_id) for run in runs} == {("digits", parts[0].stem.removeprefix("run-"))}
    config, summary = {}, {}
    for record in told:
        config |= items(record.run.config.update) | items(record.config.update)
        summary |= items(record.summary.update)
    assert FLAT | {"directory": str(tmp_path)} == {name: config.get(name) for name in [*FLAT, "directory"]}
    rows = [items(record.history.item) for record in told if record.HasField("history")]
    for path, values in expected(directory).items():
        assert [(row["_step"], row[path]) for row in rows] == list(enumerate(values, 1)), path
    assert summary["result/test/accuracy"] == directory.result()["test"]["accuracy"]
    assert (rows[-1]["confusion/_type"], rows[-1]["architecture/_type"]) == ("image-file", "html-file")
    weights = [file.local_path for record in told for file in record.artifact.manifest.contents]
    assert weights == [str(directory.model)]
    assert [record.exit.exit_code for record in told if record.HasField("exit")] == [1, 0]
