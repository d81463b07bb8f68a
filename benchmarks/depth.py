"""What depth costs: start-up, memory and speed of each way to build the same network.

    python benchmarks/depth.py [--forms looped recomputed] [--depths 20 1001] [--seconds 1800]

Each measurement is a process of its own: CIFAR-10's shapes, batch 32, float32, Adam, L2 decay. Depth
1202 is v1, the others are v2. `stock` is the network of the Keras example, one operation per layer, under
Model.fit; the other forms are this project's. What takes longer than `--seconds`, or more memory than
the machine has, is a gap in the table. Writes depth.json and depth.png to `--output`, where the rows of
other forms and depths stay.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt

FORMS = ("stock", "unrolled", "looped", "recomputed")
DEPTHS = (20, 110, 164, 1001, 1202, 10001)
V1 = (1202,)  # depths that are v1's; a figure shows them hollow
BATCH = 32
STEPS = {20: 64, 110: 16, 164: 16}
FEW_STEPS = 3
TITLES = {
    "build_seconds": "seconds to build the model",
    "first_step_seconds": "seconds from fit to the first step's end",
    "step_seconds": "seconds a step",
    "images_per_second": "images a second",
    "peak_gigabytes": "peak memory, GB",
}


def measure(form, depth):
    """Build and train one network for a few steps; seconds, images/s and GB by the names in TITLES."""
    from benchmarks.stock import stock_layers
    from resnet import models

    family = models.resnet_v1 if depth in V1 else models.resnet_v2
    steps, clock = STEPS.get(depth, FEW_STEPS), step_clock()
    started = time.perf_counter()
    with stock_layers(form == "stock"):
        model = family(
            (32, 32, 3),
            10,
            depth=depth,
            stage="unrolled" if form in ("stock", "unrolled") else "looped",
            recompute=form == "recomputed",
        )
    built = time.perf_counter()
    (fit_keras if form == "stock" else fit_ours)(model, 1 + steps, clock)
    seconds = (clock.last - clock.first) / steps
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = built - started, clock.first - built, seconds, BATCH / seconds, memory
    return dict(zip(TITLES, figures, strict=True))


def fit_keras(model, steps, clock):
    from keras.losses import SparseCategoricalCrossentropy
    from keras.optimizers import Adam

    model.compile(Adam(1e-3), SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    split = noise(steps)
    model.fit(split.images / 255.0, split.labels, BATCH, callbacks=[clock], verbose=0)


def fit_ours(model, steps, clock):
    import resnet
    from resnet.data.dataset import Dataset, measure

    split = noise(steps)
    dataset = Dataset(split, split.take([0, 1]), [*"0123456789"], measure(split.images, "pixel_mean"))
    resnet.fit(model, dataset, callbacks=[clock], epochs=1, batch_size=BATCH)


def noise(steps):
    import numpy as np

    from resnet.data.dataset import Split

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (steps * BATCH, 32, 32, 3), np.uint8)
    return Split(images, random.integers(0, 10, len(images), np.int32))


def step_clock():
    import keras

    class Clock(keras.callbacks.Callback):
        """When the first and the last step ended."""

        first = None

        def on_train_batch_end(self, batch, logs=None):
            self.last = time.perf_counter()
            self.first = self.first or self.last

    return Clock()


def measure_apart(form, depth, seconds):
    """`measure` in a process of its own; None where it did not end well in time."""
    command = [sys.executable, "-m", "benchmarks.depth", "--measure", form, str(depth)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        print(f"{form} {depth}: {error}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def table(results):
    """Markdown: one row per depth and form."""
    lines = ["| depth | form | " + " | ".join(TITLES.values()) + " |", "|--:|---|" + "--:|" * len(TITLES)]
    for result in results:
        cells = [f"{result[name]:.3g}" for name in TITLES]
        lines.append(f"| {result['depth']} | {result['form']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results, path):
    """Start-up, memory and speed against depth, both axes logarithmic."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, name in zip(axes, ("first_step_seconds", "peak_gigabytes", "images_per_second"), strict=True):
        for form, marker in zip(FORMS, "osd^", strict=True):
            points = {r["depth"]: r[name] for r in results if r["form"] == form}
            line = {depth: value for depth, value in points.items() if depth not in V1}
            alone = {depth: value for depth, value in points.items() if depth in V1}
            (drawn,) = axis.loglog(list(line), list(line.values()), marker=marker, label=form)
            look = {"linestyle": "none", "color": drawn.get_color(), "markerfacecolor": "none"}
            axis.loglog(list(alone), list(alone.values()), marker=marker, **look)
        axis.set(xlabel="depth (hollow: v1)", title=TITLES[name])
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--depths", nargs="+", type=int, default=DEPTHS)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        form, depth = given.measure
        print(json.dumps(measure(form, int(depth))))
        return
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "depth.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else []
    rows = {(row["depth"], row["form"]): row for row in known}
    for depth in given.depths:
        for form in given.forms:
            rows.pop((depth, form), None)
            if found := measure_apart(form, depth, given.seconds):
                rows[depth, form] = {"depth": depth, "form": form, **found}
                print(table([rows[depth, form]]).splitlines()[-1], flush=True)
    results = [rows[key] for key in sorted(rows, key=lambda key: (key[0], FORMS.index(key[1])))]
    path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(table(results))
    draw(results, given.output / "depth.png")


if __name__ == "__main__":
    main()
