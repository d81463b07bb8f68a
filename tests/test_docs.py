"""What the pages name is there; that links lead to pages and headings is seen to by `make docs`."""

import re
from pathlib import Path

import pytest

from resnet.cli import api

ROOT = Path(__file__).parent.parent
MADE = {ROOT / "docs" / "api.md", ROOT / "docs" / "configuration.md"}  # by make docs
PAGES = sorted({ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")} - MADE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page):
    prose = re.sub(r"(?ms)^```.*?^```|^ {4}.*?$", "", page.read_text("utf-8"))  # without code
    links = re.findall(r"\]\((?!https?:|#)([^)\s#]+)", prose)
    missing = [
        link for link in links if not (file := (page.parent / link).resolve()).exists() and file not in MADE
    ]
    assert not missing


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f": {page.name}\n" not in navigation] == []


def test_the_api_has_what_lies_in_a_module_of_its_own_name():
    """A reader that does not import it takes `resnet.data.digits` for the module."""
    shown = re.findall("^::: (.+)$", api.page(), re.MULTILINE)
    assert {"resnet.fitting.fit", "resnet.data.digits.digits", "resnet.models.resnet.resnet_v1"} <= set(shown)
    assert len(shown) == len(set(shown))
