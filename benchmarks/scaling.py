"""What a worker more brings, and what it costs in traffic.

    python benchmarks/scaling.py [--depth 20] [--batch 128] [--steps 20]

ResNet v1 on images of CIFAR-10's shape, float32, Adam, the same global batch each time: one process on one
core, one process on two, and two workers on a core each, which talk over the loopback. Bytes a step are what
passes the loopback, both ways together, beside what a ring of two must exchange (each tensor twice). Writes
scaling.json to `--output`.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROWS = {  # cores of each process, and whether batch norm is synchronised
    "1 process, 1 core": ([[0]], False),
    "1 process, 2 cores": ([[0, 1]], False),
    "2 processes, 1 core each": ([[0], [1]], False),
    "the same, synchronised batch norm": ([[0], [1]], True),
}


def measure(depth, batch, steps, synchronized):
    """Images/s and bytes per step of this process's training, after an epoch to warm up."""
    import keras
    import numpy as np

    import resnet
    from resnet.data.dataset import Dataset, Split
    from resnet.data.normalization import measure
    from resnet.models import resnet_v1
    from resnet.training import distribution

    class Loopback(keras.callbacks.Callback):
        """Bytes received over the loopback while an epoch trains."""

        def on_epoch_begin(self, epoch, logs=None):
            self.before = loopback_bytes()

        def on_train_batch_end(self, step, logs=None):
            self.bytes = loopback_bytes() - self.before

    workers = distribution.multi_worker() if "TF_CONFIG" in os.environ else None
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (steps * batch, 32, 32, 3), np.uint8)
    split = Split(images, random.integers(0, 10, len(images), np.int32))
    dataset = Dataset(split, split.take([0, 1]), [*"0123456789"], measure(images, "pixel_mean"))
    options = {"strategy": workers, "synchronize_batch_norm": synchronized}
    trainer = resnet.Trainer(epochs=2, batch_size=batch, **options)
    with trainer.scope():
        model, optimizer = resnet_v1((32, 32, 3), 10, depth=depth), keras.optimizers.Adam(1e-3)
    loopback = Loopback()
    resnet.fit(model, dataset, optimizer, callbacks=[loopback], trainer=trainer)
    return {
        "images_per_second": trainer.history[-1]["time"]["images_per_second"],
        "bytes_a_step": loopback.bytes / steps,
        "bytes_needed": 2 * exchanged(model, synchronized) if workers else 0,
    }


def exchanged(model, synchronized):
    """Bytes of what workers sum in a step: gradients, moving statistics, the loss, and sums of batch norm."""
    import numpy as np

    def floats(variables):
        return sum(int(np.prod(variable.shape)) for variable in variables)

    statistics = [v for v in model.non_trainable_variables if "moving" in v.path]
    norms = sum(v.shape[0] if len(v.shape) > 1 else 1 for v in statistics) // 2
    sums = 2 * (floats(statistics) + norms) if synchronized else 0  # forward and backward
    return 4 * (floats(model.trainable_variables) + floats(statistics) + 1 + sums)


def loopback_bytes():
    """Received so far, which on the loopback is also what was sent."""
    with open("/proc/net/dev", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.strip().startswith("lo:"))


def run(cores, synchronized, given):
    """Figures of the first of a process for each list of `cores`."""
    command = [sys.executable, "-m", "benchmarks.scaling", "--depth", given.depth, "--batch", given.batch]
    command += ["--steps", given.steps, "--measure", *(["--synchronized"] if synchronized else [])]
    ports = free_ports(len(cores))
    processes = []
    for index, own in enumerate(cores):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if len(cores) > 1:
            task = {"type": "worker", "index": index}
            cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
            environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        processes.append(
            subprocess.Popen(
                ["taskset", "--cpu-list", ",".join(map(str, own)), *map(str, command)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    return json.loads(outputs[0].splitlines()[-1])


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--synchronized", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.depth, given.batch, given.steps, given.synchronized)))
        return
    print("| | images/s | bytes per step | of which needed |\n|---|--:|--:|--:|")
    results = {}
    for name, (cores, synchronized) in ROWS.items():
        results[name] = figures = run(cores, synchronized, given)
        cells = figures["images_per_second"], figures["bytes_a_step"], figures["bytes_needed"]
        print(f"| {name} | " + " | ".join(f"{cell:,.0f}" for cell in cells) + " |", flush=True)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "scaling.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
