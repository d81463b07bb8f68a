"""The lesson runs from top to bottom, and its notebooks are what its source says."""

import os
import sys

import pytest

from tests.entry_point import ROOT

pytest.importorskip("nbconvert", reason="pip install -e .[notebook]")
import nbformat
from nbclient import NotebookClient

sys.path.append(str(ROOT / "notebooks"))
import build

SHORT = """
data = resnet.data.digits(train_size=125, test_size=50)
augment = resnet.augmentation.shift_flip(flip=False)
depths, epochs, batch_size, rate, looked_at = (8, 14), 2, 25, 0.05, 20
"""


def code(book):
    return [cell.source for cell in book.cells if cell.cell_type == "code"]


def test_notebooks_are_those_of_the_source_with_one_code():
    """As `python notebooks/build.py` writes them, so without outputs; the pages have all of their cells."""
    books = {language: build.notebook(language) for language in build.LANGUAGES}
    for language, name in build.LANGUAGES.items():
        text = (ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8")
        assert text.rstrip() == nbformat.writes(books[language]).rstrip(), "run python notebooks/build.py"
        page = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
        missing = [cell.source for cell in books[language].cells if build.on_page(cell.source) not in page]
        assert not missing, "run python notebooks/build.py --run"
    english, chinese = books["en"].cells, books["zh"].cells
    assert [cell.cell_type for cell in english] == [cell.cell_type for cell in chinese]
    assert code(books["en"]) == code(books["zh"])
    for one, other in zip(english, chinese, strict=True):
        assert one.cell_type == "code" or (one.source.isascii() and not other.source.isascii())


@pytest.mark.slow
def test_the_lesson_runs_with_other_settings(tmp_path, monkeypatch):
    """By changing its one cell of settings."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    book = build.notebook("en")
    (settings,) = (cell for cell in book.cells if "settings" in cell.metadata.get("tags", ()))
    settings.source = SHORT
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.data for cell in book.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in data for data in shown) == 10
    assert sum("image/svg+xml" in data for data in shown) == 1
    assert (tmp_path / "mine" / "example.png").is_file()
