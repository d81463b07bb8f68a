"""Put runs side by side: `python compare.py outputs multirun/2026-01-31`.

Reads every run, finished or not, in the directories given and below. Runs that differ only in their seed
are one row: mean ± standard deviation and the 95% interval of the mean. Only what differs between the
configurations is shown. Verdicts in words say which rows are better than others, and by which test.
"""

import argparse
import sys
from pathlib import Path

from hydra.experimental.callback import Callback

from resnet.cli import streams
from resnet.cli.command import at_end


class AfterSweep(Callback):
    """Ends a sweep, if some of its jobs fail too, with the comparison of its runs, in its own directory."""

    def on_multirun_start(self, config, **_):
        directory = Path(config.hydra.sweep.dir)

        def end(error, *_):
            if error and not issubclass(error, Exception):  # it was interrupted, or never began
                return
            from resnet.report.comparison import Comparison  # for which a sweep need not wait when it starts
            from resnet.report.runs import read
            from resnet.report.telling import report

            try:
                runs, unreadable = read([directory])
                if runs:
                    report(Comparison(runs, unreadable), directory)
            except Exception as fault:  # which takes nothing from the trainings
                print(f"{directory} cannot be compared: {fault}", file=sys.stderr)

        at_end.push(end)


def main():
    streams.prepare()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, help="run directories, or any above them")
    parser.add_argument("--output", type=Path, default=Path("comparison"), help="where the files go")
    parser.add_argument("--all-pairs", action="store_true", help="verdicts on all pairs of many rows, too")
    options = parser.parse_args()

    from resnet.errors import UserError  # for which --help need not wait
    from resnet.report.comparison import Comparison
    from resnet.report.runs import below, read
    from resnet.report.telling import report

    if options.output.is_file():
        sys.exit(f"--output {options.output} is a file; expected a directory, which need not be there")
    if empty := [str(top) for top in options.directories if not below(top)]:
        expected = "expected directories with .hydra/config.yaml and metrics.csv"
        sys.exit(f"{', '.join(empty)}: there is no run; {expected}")
    runs, unreadable = read(options.directories)
    if not runs:
        sys.exit("\n".join(unreadable))
    try:
        report(Comparison(runs, unreadable, options.all_pairs), options.output)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
