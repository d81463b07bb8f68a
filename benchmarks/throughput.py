"""Images a second of whole training, side by side with its peers on the same cores.

    python -m benchmarks.throughput --data DIR [--networks resnet20] [--contenders PyTorch "this project"]

DIR holds CIFAR-10. Each contender is a process that trains while it is its turn and waits otherwise;
after a first turn that does not count, they take turns. Augmentation is on (shift and flip), metrics,
callbacks and logs are those of train.py; `bare step` has none of them, and its one batch lies in memory.
`cores` is trainer/strategy=cores: half of the batch, and batch norm over that half, on each of two cores.
`matrix product` is TensorFlow's, in images whose training takes as many FLOP. Writes throughput.json
and throughput.png to `--output`. PyTorch comes with the extra `bench`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from select import select

import numpy as np

from benchmarks.contenders import KINDS, NETWORKS, ROOT

PRECISIONS = ("float32", "bfloat16")
PACKAGES = ("tensorflow", "keras", "torch")
COLORS = dict(
    zip(
        KINDS,
        ("0.8", "tab:cyan", "tab:blue", "tab:purple", "tab:orange", "tab:red", "tab:pink"),
        strict=True,
    )
)


class Contender:
    """The parent's end of a contender's process."""

    def __init__(self, network, kind, precision, given):
        self.kind, self.precision = kind, precision
        self.name = f"{kind}, {precision}"
        self.rates = []
        worker = ["--worker", network, kind, precision]
        command = [sys.executable, "-m", "benchmarks.throughput", "--data", given.data, *worker]
        self._process = subprocess.Popen(
            [*command, "--seconds", str(given.seconds)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(given.output / f"{network} {self.name}.log").open("w", encoding="utf-8"),
            text=True,
        )
        if not select([self._process.stdout], [], [], given.patience)[0]:
            self._process.kill()
            raise TimeoutError
        self._read()  # the warm-up

    def turn(self):
        """Train for a while; keeps the images a second."""
        print("go", file=self._process.stdin, flush=True)
        self.rates.append(self._read())

    def end(self):
        self._process.stdin.close()
        self._process.wait()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} failed; see its log in --output")
        return float(line)


class Turns:
    """The contender's end: called after each step, it counts images and waits between turns."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.started = None
        # What others print shall not reach the parent.
        self.answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def step_done(self, images):
        now = time.perf_counter()
        if self.started is None:  # the first step of all, which compiles
            self.started, self.images = now, 0
            return
        self.images += images
        if now - self.started >= self.seconds:
            print(self.images / (now - self.started), file=self.answers, flush=True)
            if not sys.stdin.readline():
                os._exit(0)
            self.started, self.images = time.perf_counter(), 0


def compete(network, given):
    """All contenders of one network, with their rates."""
    contenders = []
    for kind in given.contenders:
        for precision in PRECISIONS:
            started = time.perf_counter()
            try:
                contenders.append(Contender(network, kind, precision, given))
            except TimeoutError:
                print(f"{kind}, {precision}: not ready in {given.patience} s, left out", flush=True)
                continue
            print(f"{contenders[-1].name}: ready in {time.perf_counter() - started:.0f} s", flush=True)
    for _ in range(given.repeats):
        for contender in contenders:
            contender.turn()
    for contender in contenders:
        contender.end()
    return contenders


def summary(contenders):
    """One dict per contender: median rate, all rates, and the ratios to each peer it is to be set against."""
    return [
        {
            "contender": c.name,
            "images_per_second": float(np.median(c.rates)),
            "rates": c.rates,
            "stock Keras": ratio(c, fastest(contenders, "stock Keras")),
            "best PyTorch": ratio(c, fastest(contenders, "PyTorch")),
            "bare step": ratio(c, fastest(contenders, "bare step", c.precision)),
            "matrix product": ratio(c, fastest(contenders, "matrix product", c.precision)),
        }
        for c in contenders
    ]


def fastest(contenders, kind, precision=""):
    """The one of this kind, in any of its forms and precisions, with the highest median; None if absent."""
    found = [c for c in contenders if c.kind.startswith(kind) and c.precision.startswith(precision)]
    return max(found, key=lambda c: np.median(c.rates), default=None)


def ratio(contender, other):
    """Of their rates in the same round: the median over the rounds."""
    return other and float(np.median(np.divide(contender.rates, other.rates)))


def table(title, rows):
    """Markdown; rates are medians with least and greatest."""
    ratios = [key for key in list(rows[0])[3:] if rows[0][key]]
    heads = [title, "images/s", "least to greatest", *(f"÷ {key}" for key in ratios)]
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)]]
    for row in rows:
        rates = f"{row['images_per_second']:,.0f}", f"{min(row['rates']):,.0f} to {max(row['rates']):,.0f}"
        lines.append([row["contender"], *rates, *(f"{row[r]:.2f}" for r in ratios)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(results, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(results), figsize=(7 * len(results), 4.5), layout="constrained", squeeze=False
    )
    for axis, result in zip(axes[0], results, strict=True):
        rows = result["rows"][::-1]
        names, medians = [r["contender"] for r in rows], [r["images_per_second"] for r in rows]
        spread = np.abs(np.array([(min(r["rates"]), max(r["rates"])) for r in rows]).T - medians)
        colors = [COLORS[name.rpartition(", ")[0]] for name in names]
        bars = axis.barh(names, medians, xerr=spread, color=colors, error_kw={"ecolor": "0.4", "capsize": 2})
        axis.bar_label(bars, [f"{m:,.0f}" for m in medians], label_type="center", fontsize=8)
        axis.set(title=result["title"], xlabel="images a second")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--contenders", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="a turn")
    parser.add_argument("--patience", type=float, default=120, help="seconds to wait for one to compile")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        network, kind, precision = given.worker
        KINDS[kind](NETWORKS[network], precision, given.data, Turns(given.seconds).step_done)
        return
    given.output.mkdir(parents=True, exist_ok=True)
    given.data = str(Path(given.data).resolve())
    if not find_spec("torch"):
        given.contenders = [kind for kind in given.contenders if "PyTorch" not in kind]
        print("PyTorch is not installed (pip install .[bench]): its contenders are left out")
    results = []
    for name in given.networks:
        rows = summary(compete(name, given))
        results.append({"title": NETWORKS[name].title, "rows": rows})
        print(table(results[-1]["title"], rows), flush=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    machine |= {package: version(package) for package in PACKAGES if find_spec(package)}
    record = json.dumps({"machine": machine, "results": results}, indent=1)
    (given.output / "throughput.json").write_text(record + "\n", "utf-8")
    draw(results, given.output / "throughput.png")


if __name__ == "__main__":
    main()
