"""The page of all keys: each is there, says what it is, and is as Hydra composes it."""

import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from resnet.cli import reference
from resnet.cli.commented import Commented
from tests.test_conf import BY_NAME, CONF, GROUPS, NEEDED, options

FILES = sorted(path for group in (*GROUPS[:-1], *BY_NAME) for path in (CONF / group).rglob("*.yaml"))


@pytest.fixture(scope="module")
def page():
    return reference.page(CONF)


def tables(page):
    """The rows of each section, a dict of five cells by key; sections by their heading."""
    sections = {}
    for line in page.splitlines():
        if heading := re.match("##+ `?([^`{]+)", line):
            found = sections.setdefault(heading[1].strip(), {})
        elif row := re.match(r"\| `([^`]+)` \| (.*) \|$", line):
            found[row[1]] = re.split(r"(?<!\\) \| ", row[2])
    return sections


def test_every_key_says_what_it_is(page):
    found = tables(page)
    assert len(found) > len(FILES)
    silent = [
        f"{section}: {key}" for section, rows in found.items() for key, (said, *_) in rows.items() if not said
    ]
    assert not silent, "a comment beside the key in its YAML says it"


def test_a_row():
    """By hand, from three files: YAML, signature and range."""
    file = Commented(CONF / "model" / "resnet_v1.yaml")
    rows = {row.key: row for row in reference.rows(file, {})}
    assert rows["filters"] == reference.Row(
        "filters", "of the stages", "[16, 32, 64]", "Sequence[int]", "list of 3 whole numbers from 1"
    )
    file = Commented(CONF / "trainer" / "default.yaml")
    rows = {row.key: row for row in reference.rows(file, {})}
    assert rows["plateau.patience"].range == "whole numbers from 1"
    assert rows["sam_rho"].type == "float | None" and rows["sam_rho"].range == "numbers above 0; or `null`"


def keys(found, group, name):
    """The keys of a section, and of those that its file is composed of."""
    section = f"{group}: {name}" if name.startswith("_") else f"{group}={name}"
    yield from found[section]
    for entry in Commented(CONF / group / f"{name}.yaml").defaults:
        if isinstance(entry, dict):
            ((key, option),) = entry.items()
            yield from (f"{key}.{inner}" for inner in keys(found, f"{group}/{key}", option))
        else:
            base, _, key = entry.partition("@")
            yield from (f"{key}.{inner}" if key else inner for inner in keys(found, group, base))


def values(tree, prefix=""):
    """The dotted names of all values."""
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in parts:
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield from values(value, f"{prefix}{key}.")
        elif key != "_target_":
            yield f"{prefix}{key}"


@pytest.mark.parametrize("option", options(*GROUPS[:-1], *BY_NAME, "trainer/strategy"))
def test_the_keys_are_those_that_hydra_composes(page, option):
    group, _, name = option.partition("=")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [option, *NEEDED.get(option, ())])
    node = OmegaConf.to_container(OmegaConf.select(config, group.replace("/", ".")))
    assert set(values(node)) <= set(keys(tables(page), group, name))
