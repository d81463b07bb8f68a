"""compare.py on run directories as train.py writes them."""

import csv
import json
import subprocess
import sys

import pytest
import yaml

import compare
from tests.entry_point import ROOT

V1 = {"_target_": "resnet.models.resnet_v1", "depth": 20, "l2": 1e-4}
V2 = {"_target_": "resnet.models.resnet_v2", "depth": 29, "l2": 1e-4, "strided_conv": "1x1"}


def write(directory, accuracies, finished=True, seed=1, model=V1, **config):
    (directory / ".hydra").mkdir(parents=True)
    config = {"model": model, "data": {"seed": "${seed}"}, "seed": seed, "changes": "refuse", **config}
    (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    with (directory / "metrics.csv").open("w", newline="") as file:
        names = "epoch", "accuracy", "loss", "test_accuracy", "test_loss"
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([i, a + 0.05, 1 - a, a, 1.1 - a] for i, a in enumerate(accuracies, 1))
    if finished:
        result = {"status": "finished", "test_accuracy": accuracies[-1], "test_loss": 1.1 - accuracies[-1]}
        (directory / "result.json").write_text(json.dumps(result))


@pytest.fixture
def runs(tmp_path):
    write(tmp_path / "multirun" / "0", [0.5, 0.80])
    write(tmp_path / "multirun" / "1", [0.5, 0.84], seed=2)
    write(tmp_path / "multirun" / "2", [0.6, 0.90], model=V1 | {"depth": 32})
    write(tmp_path / "outputs" / "running", [0.3], model=V1 | {"depth": 44}, finished=False)
    return tmp_path


def test_seeds_are_one_row_and_the_best_comes_first(runs):
    groups = compare.group(compare.find([runs / "multirun", runs / "outputs"]))
    headings, rows = compare.table(groups)
    assert headings == ["run", "depth", "test accuracy", "test loss", "train accuracy", "epochs done",
                        "status", "seeds"]  # fmt: skip
    assert [row[1:] for row in rows] == [
        ["32", "90.00%", "0.2000", "95.00%", "2", "finished", "1"],
        ["20", "82.00% ± 2.83", "0.2800 ± 0.0283", "87.00% ± 2.83", "2", "finished", "2"],
        ["44", "30.00%", "0.8000", "35.00%", "1", "unfinished", "1"],
    ]


def test_only_what_differs(tmp_path):
    """Keys that come with another model say nothing that the model does not."""
    write(tmp_path / "a", [0.5], plateau=None)
    write(
        tmp_path / "b",
        [0.5],
        model=V2,
        plateau={"_target_": "resnet.training.schedules.Plateau", "factor": 0.1},
    )
    assert compare.differing(compare.find([tmp_path])) == ["model", "model.depth", "plateau"]


def test_each_run_once_and_a_row_that_is_being_written_not_at_all(runs):
    with (runs / "outputs" / "running" / "metrics.csv").open("a") as file:
        file.write("2,0.4")
    found = compare.find([runs, runs / "outputs", runs / "outputs" / "running"])
    assert len(found) == 4
    assert [len(run.epochs) for run in found if run.status == "unfinished"] == [1]


def test_final_test_metrics_of_a_run_that_validates(tmp_path):
    write(tmp_path / "a", [0.5])
    path = tmp_path / "a" / "metrics.csv"
    path.write_text(path.read_text().replace("test_", "validation_"))
    (run,) = compare.find([tmp_path])
    assert (run.metrics["test accuracy"], run.metrics["validation accuracy"]) == (0.5, 0.5)


def start(*arguments, cwd):
    command = [sys.executable, str(ROOT / "compare.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
def test_terminal_markdown_csv_and_figure(runs):
    write(runs / "outputs" / "begun", [], finished=False, model=V1 | {"depth": 56})
    done = start("multirun", "outputs", cwd=runs)
    assert done.returncode == 0, done.stderr
    assert "82.00% ± 2.83" in done.stdout
    output = runs / "comparison"
    assert "| multirun/0 +1 | 20 | 82.00% ± 2.83 |" in (output / "comparison.md").read_text()
    rows = list(csv.DictReader((output / "comparison.csv").open()))
    assert [(row["model.depth"], row["seed"], row["test accuracy"]) for row in rows] == [
        ("32", "1", "0.9"),
        ("20", "1", "0.8"),
        ("20", "2", "0.84"),
        ("44", "1", "0.3"),
        ("56", "1", ""),
    ]
    assert (output / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_no_run(tmp_path):
    done = start("outputs", cwd=tmp_path)
    assert done.returncode == 1
    assert "outputs: there is no run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
