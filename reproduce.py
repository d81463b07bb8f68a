"""Run a row of a paper's table with several seeds, and say whether its figure was met.

`python reproduce.py --help`. It is train.py over the seeds of a row of conf/paper, and ends in a verdict.
"""

import sys
from pathlib import Path

from hydra.experimental.callback import Callback

from resnet.cli.command import at_end, command
from train import train


class AfterSweep(Callback):
    """Ends the runs of a row, if some of them fail too, with what they say of it.

    Args:
        row: what a `resnet.report.reproduction.Row` takes.
    """

    def __init__(self, **row):
        self.row = row

    def on_multirun_start(self, config, **_):
        if not self.row:
            rows = sorted(path.stem for path in Path(__file__).with_name("conf").glob("paper/*.yaml"))
            sys.exit(f"paper is missing: give paper=ROW; there are {', '.join(rows)}")
        directory, paper = Path(config.hydra.sweep.dir), config.hydra.runtime.choices.paper

        def end(error, *_):
            if error and not issubclass(error, Exception):  # it was interrupted, or never began
                return
            from resnet.report import reproduction  # for which a sweep need not wait when it starts
            from resnet.report.telling import beside

            with beside(error):
                sentences = reproduction.report(reproduction.Row(**self.row), directory, paper)
                (directory / "reproduction.txt").write_text("\n".join(sentences) + "\n", "utf-8")
                print("", *sentences, f"in {directory}: reproduction.txt", sep="\n")

        at_end.push(end)


def main():
    sys.argv.insert(1, "--config-name=reproduce")
    command(train)


if __name__ == "__main__":
    main()
