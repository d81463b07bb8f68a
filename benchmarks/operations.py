"""What each kind of operation takes of a training step, here and in PyTorch, on one core.

    python -m benchmarks.operations --data DIR [--networks resnet18] [--precision bfloat16]

Both compute convolutions and products with oneDNN, which says of each what it was, which of its kernels ran
and how long (ONEDNN_VERBOSE); the rest of the step is what it does not do. One process at a time, on one
core, after its first steps. Milliseconds a step, with the number of calls and oneDNN's kernels.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict

from benchmarks.contenders import KINDS, NETWORKS, ROOT

ENDS = ("this project", "PyTorch")
DIRECTIONS = {"backward_data": "gradients of inputs", "backward_weights": "gradients of kernels"}
KINDS_OF = {
    "matmul": "matrix products",
    "inner_product": "matrix products",
    "batch_normalization": "batch norm",
    "eltwise": "activations",
    "binary": "additions",
    "sum": "additions",
    "reorder": "reorders",
    "pooling": "pooling",
}
REST = "all else"


def train(network, kind, precision, directory, steps):
    """Train in this process, on one core; says when it was measured, and how many steps."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    answers = os.fdopen(os.dup(2), "w", encoding="utf-8")
    seen = []

    def step_done(images):
        seen.append((time.time(), images / NETWORKS[network].batch))
        # The first call compiles; one of this project holds several steps.
        if len(seen) > 2 and sum(count for _, count in seen[2:]) >= steps:
            span = [seen[1][0], seen[-1][0], sum(count for _, count in seen[2:])]
            print(json.dumps(span), file=answers, flush=True)
            os._exit(0)

    KINDS[kind](NETWORKS[network], precision, directory, step_done)


def measure(network, kind, given):
    """Milliseconds and calls a step by kind of operation, and the seconds of each of oneDNN's kernels."""
    command = [sys.executable, "-m", "benchmarks.operations", "--data", given.data, "--worker", network, kind]
    process = subprocess.run(
        [*command, "--precision", given.precision, "--steps", str(given.steps)],
        cwd=ROOT,
        env=os.environ | {"ONEDNN_VERBOSE": "1", "ONEDNN_VERBOSE_TIMESTAMP": "1"},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        sys.exit(process.stderr[-2000:])
    started, ended, steps = json.loads(process.stderr.strip().splitlines()[-1])
    spent, calls, kernels = Counter(), Counter(), defaultdict(Counter)
    for line in process.stdout.splitlines():
        fields = line.split(",")
        if not line.startswith("onednn_verbose") or "exec" not in fields:
            continue
        at = fields.index("exec")
        if not started * 1000 <= float(fields[at - 2]) <= ended * 1000:
            continue
        primitive, kernel, direction = fields[at + 2 : at + 5]
        name = KINDS_OF.get(primitive, primitive)
        if "convolution" in primitive:
            name = DIRECTIONS.get(direction, "convolutions")
        spent[name] += float(fields[-1]) / steps
        calls[name] += 1 / steps
        kernels[name][kernel] += float(fields[-1]) / steps
    whole = 1000 * (ended - started) / steps
    spent[REST] = whole - sum(spent.values())
    return whole, spent, calls, kernels


def table(network, found):
    title = f"{NETWORKS[network].title}, batch {NETWORKS[network].batch}"
    lines = ["", f"| {title} | here, ms | PyTorch, ms | here | PyTorch |"]
    lines.append("|---|--:|--:|---|---|")
    names = sorted(set().union(*(spent for _, spent, _, _ in found)) - {REST}, key=lambda n: -found[0][1][n])
    for name in [*names, REST]:
        cells = [f"{spent[name]:.1f}" for _, spent, _, _ in found]
        for _, spent, calls, kernels in found:
            most = [f"{kernel} {ms / spent[name]:.0%}" for kernel, ms in kernels[name].most_common(2)]
            cells.append(f"{calls[name]:.0f}: {', '.join(most)}" if most else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(f"| a step | {' | '.join(f'{whole:.1f}' for whole, *_ in found)} | | |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--networks", nargs="+", default=["resnet18"], choices=NETWORKS)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        train(*given.worker, given.precision, given.data, given.steps)
    for network in given.networks:
        print(table(network, [measure(network, kind, given) for kind in ENDS]), flush=True)


if __name__ == "__main__":
    main()
