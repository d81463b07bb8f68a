"""Go from one recipe to another, one change at a time, and leave each change out of the end.

    python walk.py keras_example fast_cpu --seeds 3 trainer.epochs=4 trainer/strategy=single

Both are experiments of train.py; a change is a node of the configuration in which they differ: data, model,
optimizer and so on, in this order. Every recipe is run with every seed; then it is said what each change
adds on the way, and what the end lacks without it. A tenth of the training images is held out to judge by.
The same command again goes on with what was cut off.
"""

import argparse
import sys
from pathlib import Path

from resnet.cli import streams
from resnet.cli.arguments import quoted, without_interpolation
from resnet.cli.command import at_end, command
from resnet.errors import ConfigError
from train import train

JUDGED_BY_VALIDATION = ("data.validation_split=0.1", "trainer.watch=validation")


def at_least_one(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1")
    return int(text)


def main():
    streams.prepare()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("start", help="the experiment that it begins with")
    parser.add_argument("end", help="the one that it ends with")
    parser.add_argument("overrides", nargs="*", help="what holds for all, as train.py takes it")
    parser.add_argument("--seeds", type=at_least_one, default=3, help="runs of each recipe")
    parser.add_argument("--output", type=Path, help="where all goes; by default walks/START-END")
    options = parser.parse_intermixed_args()
    output = options.output or Path("walks", f"{options.start}-{options.end}")
    sys.argv[1:] = options.overrides

    def walk():
        """Write the recipes as experiments, and train them in one sweep."""
        from resnet.cli.recipes import differing, have_one_strategy, mixture, recipe, write
        from resnet.report.telling import beside
        from resnet.report.walk import Walk, report, settings

        conf, overrides = Path(__file__).with_name("conf"), [*JUDGED_BY_VALIDATION, *sys.argv[1:]]
        start, end = (recipe(conf, name, overrides) for name in (options.start, options.end))
        have_one_strategy(start, end)
        changes = differing(start, end)
        if not changes:
            raise ConfigError(f"{options.start} and {options.end} are the same recipe")
        plan = settings(options.start, options.end, changes)
        for setting in plan:
            path = output / "conf" / "experiment" / f"{setting.name}.yaml"
            write(mixture(start, end, setting.nodes), path)
        # The rest is in the recipes; what is taken away must be so each time.
        again = [text for text in sys.argv[1:] if text.startswith(("~", "hydra.", "hydra/"))]
        sys.argv[1:] = [
            "--multirun",
            f"--config-dir={output / 'conf'}",
            *again,
            f"experiment={','.join(setting.name for setting in plan)}",
            f"seed={','.join(map(str, range(options.seeds)))}",
            f"hydra.sweep.dir={quoted(without_interpolation(str(output)))}",
            "hydra.sweep.subdir=${hydra.runtime.choices.experiment}/seed_${seed}",
        ]

        def finish(error, *_):
            if not error or issubclass(error, Exception):  # it was not interrupted
                with beside(error):
                    report(Walk(options.start, options.end, changes, output), output)

        at_end.push(finish)
        train()

    command(walk)


if __name__ == "__main__":
    main()
