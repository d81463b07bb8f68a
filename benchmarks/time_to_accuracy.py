"""Test accuracy by minutes of training: `experiment=fast_cpu` beside airbench94_muon in PyTorch, by turns.

    python -m benchmarks.time_to_accuracy --data DIR [--seeds 3]

DIR holds CIFAR-10. Two processes train, an epoch each in turn, until both are done; then the next seed. Only
training counts, with what it compiles, not the evaluation after each epoch. Recipe and epochs of each are
fixed: the accuracies on the way are for the picture, and six views are looked at after the last epoch alone.
Writes time_to_accuracy.json and .png to `--output`. PyTorch comes with the extra `bench`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.contenders import ROOT
from resnet.report.statistics import summary


class Report:
    """The contender's end: says what an epoch came to, and waits for its next turn."""

    def __init__(self):
        self.seconds = 0.0
        self.answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what others print shall not reach the parent
        self.begin()

    def begin(self):
        if not sys.stdin.readline():
            os._exit(0)
        self.started = time.perf_counter()

    def trained(self):
        """Where training ends and the evaluation begins."""
        self.seconds += time.perf_counter() - self.started

    def scored(self, plain, views):
        print(json.dumps([self.seconds / 60, plain, views]), file=self.answers, flush=True)
        self.begin()


def ours(directory, seed):
    """The recipe as train.py trains it."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", ["experiment=fast_cpu", f"data.dir={directory}", f"seed={seed}"])

    import resnet
    from resnet.cli.assembly import parts_of, trainer_of
    from resnet.report.evaluation import predict
    from resnet.run.callbacks import Callback

    report = Report()

    class Turn(Callback):
        needs_run = False

        def on_epoch_end(self, epoch, logs=None):
            report.trained()
            last = epoch + 1 == config.trainer.epochs
            report.scored(self.accuracy(1), self.accuracy(6) if last else None)

        def accuracy(self, views):
            test = self.trainer.dataset.test
            found = predict(self.model, test, self.trainer.preprocessing, views)
            return float((found.argmax(1) == test.labels).mean())

    trainer = trainer_of(config, None)
    resnet.fit(**parts_of(config, trainer) | {"callbacks": {"turn": Turn()}}, trainer=trainer)


def airbench(directory, seed):
    from benchmarks.airbench import train
    from resnet.data import cifar10

    data = cifar10(directory, validation_split=0.0)
    report = Report()
    parts = data.train.images, data.train.labels, data.test.images, data.test.labels
    train(*parts, seed, report.trained, report.scored)


CONTENDERS = {"fast_cpu": ours, "airbench94_muon, PyTorch": airbench}


def run(directory, seed, output):
    """Of each contender after each epoch: minutes, plain accuracy, and that of six views or None."""
    processes, curves = {}, {name: [] for name in CONTENDERS}
    for name in CONTENDERS:
        command = [sys.executable, "-m", "benchmarks.time_to_accuracy", "--data", directory]
        log = (output / f"{name.partition(',')[0]} {seed}.log").open("w", encoding="utf-8")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes[name] = subprocess.Popen(
            [*command, "--worker", name, str(seed)], cwd=ROOT, stderr=log, **pipes
        )
    while processes:
        for name, process in list(processes.items()):
            try:
                print("go", file=process.stdin, flush=True)
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if line:
                curves[name].append(json.loads(line))
                minutes, plain, views = curves[name][-1]
                and_views = f", six views {views:.2%}" if views else ""
                print(f"seed {seed}, {name}: {minutes:.2f} minutes, {plain:.2%}{and_views}", flush=True)
            else:
                process.stdin.close()
                if process.wait():
                    sys.exit(f"{name} failed; see its log in --output")
                del processes[name]
    return curves


def table(runs):
    """Markdown: the ends, with the 95% interval of the mean over the seeds."""
    lines = ["| | minutes | test accuracy | with six views |", "|---|--:|--:|--:|"]
    for name in CONTENDERS:
        minutes, plain, views = np.array([curves[name][-1] for curves in runs]).T
        lines.append(
            f"| {name} | {interval(minutes, '.2f')} | {interval(plain, '.2%')} | {interval(views, '.2%')} |"
        )
    ratios = [np.divide(*(curves[name][-1][0] for name in CONTENDERS)) for curves in runs]
    return "\n".join([*lines, "", f"time, ours / theirs: {interval(np.array(ratios), '.3f')}"])


def interval(values, form):
    found = summary(values)
    return (
        f"{found.mean:{form}} ± {found.mean - found.low:{form}}" if len(values) > 1 else f"{values[0]:{form}}"
    )


def draw(runs, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import PercentFormatter

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, colour, dashes in zip(CONTENDERS, ("#0072B2", "#D55E00"), ("-", "--"), strict=True):
        for number, curves in enumerate(runs):
            minutes, plain = zip(*(at[:2] for at in curves[name]), strict=True)
            axes.plot(minutes, plain, dashes, color=colour, marker=".", label=None if number else name)
    axes.set(title="test accuracy, each seed", xlabel="minutes of training", ylim=(0.5, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    directory = str(Path(given.data).resolve())
    if given.worker:
        name, seed = given.worker
        CONTENDERS[name](directory, int(seed))
        return
    given.output.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in range(given.seeds):
        runs.append(run(directory, seed, given.output))
        (given.output / "time_to_accuracy.json").write_text(json.dumps(runs, indent=1) + "\n", "utf-8")
        draw(runs, given.output / "time_to_accuracy.png")
    print(table(runs))


if __name__ == "__main__":
    main()
