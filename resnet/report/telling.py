"""A comparison in words and figures: on the terminal, as Markdown, as CSV and as a picture."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from resnet.errors import UserError
from resnet.files import replace_text, replacing, writing
from resnet.report import statistics
from resnet.run.epoch_record import as_text, is_share

if TYPE_CHECKING:
    from resnet.report.comparison import Comparison
    from resnet.report.walk import Walk

NOTHING = "–"
CAPTION = "Mean ± sample deviation over seeds; the interval is that of the mean, 95%, Student's t."


def words(metric: str) -> str:
    return metric.replace("/", " ")


def centre(found: statistics.Summary | None, metric: str) -> str:
    """`91.20% ± 0.31` for an accuracy, `0.4210 ± 0.0123` for a loss."""
    if found is None:
        return NOTHING
    text = as_text(metric, found.mean)
    if found.deviation is None:
        return text
    return f"{text} ± {100 * found.deviation:.2f}" if is_share(metric) else f"{text} ± {found.deviation:.4f}"


def interval(found: statistics.Summary | None) -> str:
    """`90.43 to 91.97%`."""
    return NOTHING if found is None or found.low is None else f"{100 * found.low:.2f} to {found.high:.2%}"


def span(counts: Iterable[int]) -> str:
    low, *_, high = sorted([*counts] * 2)
    return str(low) if low == high else f"{low}–{high}"


@contextmanager
def beside(failure: type[BaseException] | None) -> Iterator[None]:
    """Around what is told after the jobs: a UserError is printed, not raised, before the `failure` of one."""
    try:
        yield
    except UserError as error:
        if failure is None:
            raise
        print(error, file=sys.stderr)


def report(comparison: Comparison, output: Path) -> None:
    """Show a comparison; write its text, its numbers and its picture to the directory `output`.

    Raises UserError where that cannot be written.
    """
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    show(comparison)
    write_markdown(output / "comparison.md", comparison)
    write_csv(output / "comparison.csv", comparison)
    draw(output / "comparison.png", comparison)
    print(f"\nin {output}: comparison.csv, comparison.md, comparison.png")


def show(comparison: Comparison | Walk) -> None:
    """Print the table, which a terminal folds where it is too wide, and what follows from it."""
    from rich.console import Console
    from rich.table import Table

    headings, rows = comparison.table()
    printed = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        printed.add_column(heading, overflow="fold")
    for row in rows:
        printed.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 240, markup=False).print(printed)
    print(f"\n{CAPTION}\n{comparison.ranking}")
    for heading, texts in _blocks(comparison):
        print(f"\n{heading}:", *texts, sep="\n  ")


def _blocks(comparison):
    """Headings and their sentences, as far as there are any."""
    blocks = ((comparison.heading, comparison.verdicts), ("Notes", comparison.notes))
    return [(heading, texts) for heading, texts in blocks if texts]


def write_markdown(path: Path, comparison: Comparison | Walk) -> None:
    headings, rows = comparison.table()
    cells = [[text.replace("|", r"\|") for text in row] for row in (headings, *rows)]
    lines = [cells[0], ["---"] * len(headings), *cells[1:]]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{CAPTION}\n{comparison.ranking}\n"
    for heading, texts in _blocks(comparison):
        text += f"\n{heading}:\n\n" + "".join(f"- {sentence}\n" for sentence in texts)
    replace_text(path, text)


def write_csv(path: Path, comparison: Comparison) -> None:
    """One row per run, with numbers in full."""
    keys = comparison.keys
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "run", *keys, "seed", *comparison.metrics, "epochs", "status"])
        for group in comparison.groups:
            for run in group.runs:
                config = [run.config.get(key) for key in keys]
                metrics = [run.metrics.get(name) for name in comparison.metrics]
                name = run.directory.as_posix()
                writer.writerow(
                    [group.letter, name, *config, run.seed, *metrics, len(run.epochs), run.status]
                )


def draw(path: Path, comparison: Comparison) -> None:
    """The seeds, intervals and curves of all groups in one picture."""
    from resnet.report import figures

    groups = [
        (
            group.letter,
            group.label,
            [run.epochs for run in group.runs],
            list(group.values(comparison.metric).values()) if group.finished else [],
        )
        for group in comparison.groups
    ]
    with replacing(path) as part:
        part.write_bytes(figures.png(figures.compare(groups, comparison.metric)))
