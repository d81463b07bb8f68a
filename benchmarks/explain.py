"""Seconds that each picture of explain.py takes, as a table.

    python -m benchmarks.explain RUN [--against RUN] [--count 500]

The runs are trained with `callbacks=[default,outcomes,weights]`, else two pictures are left out. Each picture
gets networks that were just loaded, so that its time holds all that it compiles, but not the program's start.
"""

import argparse
import time
from pathlib import Path

from omegaconf import OmegaConf

from resnet.errors import UserError
from resnet.report import explain
from resnet.report.figures import png
from resnet.report.subject import few, subjects_of
from resnet.run.directory import RunDirectory

OPTIONS = OmegaConf.load(Path(__file__).parents[1] / "conf" / "explain.yaml")


def seconds(name, runs, count):
    """What one picture takes."""
    configs = [OmegaConf.create(run.config_text()) for run in runs]
    networks = subjects_of(runs, configs)
    dataset = few(networks, count, 0)
    options = {key: OPTIONS[name][key] for key in OPTIONS.get(name, ()) if key not in ("seed", "images")}
    began = time.perf_counter()
    png(explain.find(name)(networks, dataset, **options).figure)
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--count", type=int, default=500)
    options = parser.parse_args()
    runs = [RunDirectory.finished(path) for path in (options.run, options.against) if path]
    print("| `what` | seconds |\n|---|--:|")
    for name in explain.names():
        try:
            print(f"| `{name}` | {seconds(name, runs, options.count):.1f} |", flush=True)
        except UserError as error:
            print(f"| `{name}` | not shown: {error} |", flush=True)


if __name__ == "__main__":
    main()
