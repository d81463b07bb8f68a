"""Put runs side by side: `python compare.py outputs multirun/2026-01-31`.

Reads every run, finished or not, in the directories given and below. Runs that differ only in their seed
are one row: mean ± standard deviation. Only what differs between the configurations is shown.
"""

import argparse
import csv
import json
import statistics
import sys
from pathlib import Path

import yaml
from hydra.experimental.callback import Callback
from rich.console import Console
from rich.table import Table

from conf import streams
from conf.command import at_end, import_keras

METRICS = ("test accuracy", "test loss", "validation accuracy", "train accuracy")
NOTHING = "–"


class Run:
    """What a run directory says: its flat `config`, its `epochs`, and the newest of each metric."""

    def __init__(self, directory):
        self.directory = directory
        self.config = flat(yaml.safe_load((directory / ".hydra" / "config.yaml").read_text("utf-8")))
        self.seed = self.config.pop("seed")
        self.config.pop("changes", None)  # of how the run was started, not of what it is
        self.epochs = read_metrics(directory / "metrics.csv")
        path = directory / "result.json"
        self.result = json.loads(path.read_text("utf-8")) if path.exists() else {}
        newest = self.epochs[-1] if self.epochs else {}
        metrics = {name: newest.get(name.removeprefix("train ").replace(" ", "_")) for name in METRICS}
        finished = {f"test {name}": self.result.get(f"test_{name}") for name in ("accuracy", "loss")}
        self.metrics = metrics | {name: value for name, value in finished.items() if value is not None}
        self.status = self.result.get("status", "unfinished")

    @property
    def setting(self):
        """The configuration without its seed, for equality."""
        return tuple(sorted((key, str(value)) for key, value in self.config.items()))


def find(directories):
    """The runs in and below `directories`, each once."""
    configs = {path.resolve(): path for top in directories for path in top.rglob(".hydra/config.yaml")}
    runs = [path.parent.parent for path in sorted(configs.values())]
    return [Run(directory) for directory in runs if (directory / "metrics.csv").exists()]


def read_metrics(path):
    """One dict of floats for each whole row of a metrics.csv, which may be growing."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    whole = [row for row in rows if len(row) == len(rows[0])]
    return [{name: float(value) for name, value in row.items()} for row in whole]


def flat(tree, prefix=""):
    """`{"model": {"_target_": "a.b", "depth": 20}}` as `{"model": "b", "model.depth": 20}`."""
    values = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            values |= flat(value, f"{name}.")
        elif key == "_target_":
            values[prefix.removesuffix(".")] = value.rpartition(".")[2]
        else:
            values[name] = value
    return values


def differing(runs):
    """Keys of the configurations whose values differ.

    A key that some runs lack counts unless another choice at a node above it explains that.
    """
    keys = dict.fromkeys(key for run in runs for key in run.config)
    values = {key: {str(run.config[key]) for run in runs if key in run.config} for key in keys}
    several = {key for key in keys if len(values[key]) > 1}
    for key in keys:
        above = {key.rsplit(".", n)[0] for n in range(1, key.count(".") + 1)}
        if any(key not in run.config for run in runs) and not above & several:
            several.add(key)
    return [key for key in keys if key in several]


def group(runs):
    """Lists of runs that differ only in their seed, the best test (else validation) accuracy first."""
    groups = {}
    for run in runs:
        groups.setdefault(run.setting, []).append(run)

    def accuracy(members):
        means = [mean(members, f"{split} accuracy") for split in ("test", "validation", "train")]
        return next((value for value in means if value is not None), 0.0)

    return sorted(groups.values(), key=accuracy, reverse=True)


def mean(runs, metric):
    values = [run.metrics[metric] for run in runs if run.metrics[metric] is not None]
    return statistics.fmean(values) if values else None


def deviation(runs, metric):
    """Sample standard deviation; None of fewer than two runs."""
    values = [run.metrics[metric] for run in runs if run.metrics[metric] is not None]
    return statistics.stdev(values) if len(values) > 1 else None


def table(groups):
    """Headings, and a list of texts for each group."""
    runs = [run for members in groups for run in members]
    keys = differing(runs)
    metrics = [name for name in METRICS if any(run.metrics[name] is not None for run in runs)]
    headings = ["run", *short(keys), *metrics, "epochs done", "status", "seeds"]
    rows = []
    for members in groups:
        config = [str(members[0].config.get(key, NOTHING)) for key in keys]
        rows.append(
            [
                name_of(members),
                *config,
                *(text(members, metric) for metric in metrics),
                span(len(run.epochs) for run in members),
                ", ".join(sorted({run.status for run in members})),
                str(len(members)),
            ]
        )
    return headings, rows


def short(keys):
    """The last part of each key where it tells it from the others."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for name, key in zip(last, keys, strict=True)]


def name_of(runs):
    return runs[0].directory.as_posix() + (f" +{len(runs) - 1}" if len(runs) > 1 else "")


def text(runs, metric):
    """`91.20% ± 0.31` for an accuracy, `0.4210 ± 0.0123` for a loss."""
    centre, spread = mean(runs, metric), deviation(runs, metric)
    if centre is None:
        return NOTHING
    if "accuracy" in metric:
        return f"{centre:.2%}" + (f" ± {100 * spread:.2f}" if spread is not None else "")
    return f"{centre:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")


def span(counts):
    low, *_, high = sorted([*counts] * 2)
    return str(low) if low == high else f"{low}–{high}"


def show(headings, rows):
    """Print the table; a terminal folds what is too wide for it."""
    printed = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        printed.add_column(heading, overflow="fold")
    for row in rows:
        printed.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 240).print(printed)


def write_markdown(path, headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    path.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), "utf-8")


def write_csv(path, groups):
    """A row a run, with numbers in full."""
    runs = [run for members in groups for run in members]
    keys = differing(runs)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", *keys, "seed", *METRICS, "epochs", "status"])
        for run in runs:
            config = [run.config.get(key) for key in keys]
            metrics = [run.metrics[name] for name in METRICS]
            name = run.directory.as_posix()
            writer.writerow([name, *config, run.seed, *metrics, len(run.epochs), run.status])


def draw(path, groups):
    """The curves of all groups in one picture."""
    import_keras()  # for which the table need not wait
    from resnet import figures

    keys = differing([run for members in groups for run in members])
    curves = {}
    for members in groups:
        values = [members[0].config.get(key, NOTHING) for key in keys]
        setting = ", ".join(f"{name} {value}" for name, value in zip(short(keys), values, strict=True))
        curves[setting or name_of(members)] = [run.epochs for run in members]
    path.write_bytes(figures.png(figures.compare(curves)))


class AfterSweep(Callback):
    """Ends a sweep, if some of its jobs fail too, with the comparison of its runs, in its own directory."""

    def on_multirun_start(self, config, **_):
        directory = Path(config.hydra.sweep.dir)

        def end(error, *_):
            if error and not issubclass(error, Exception):  # it was interrupted, or never began
                return
            try:
                if runs := find([directory]):
                    compare(runs, directory)
            except Exception as fault:  # which takes nothing from the trainings
                print(f"{directory} cannot be compared: {fault}", file=sys.stderr)

        at_end.push(end)


def compare(runs, output):
    """Show the table of `runs`; write it, their numbers and their curves to the directory `output`."""
    groups = group(runs)
    headings, rows = table(groups)
    show(headings, rows)
    output.mkdir(parents=True, exist_ok=True)
    write_markdown(output / "comparison.md", headings, rows)
    write_csv(output / "comparison.csv", groups)
    draw(output / "comparison.png", groups)
    print(f"in {output}: comparison.csv, comparison.md, comparison.png")


def main():
    streams.prepare()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, help="run directories, or any above them")
    parser.add_argument("--output", type=Path, default=Path("comparison"), help="where the files go")
    options = parser.parse_args()
    runs = find(options.directories)
    if not runs:
        given = ", ".join(map(str, options.directories))
        sys.exit(f"{given}: there is no run; expected directories with .hydra/config.yaml and metrics.csv")
    compare(runs, options.output)


if __name__ == "__main__":
    main()
