"""batch.py: the largest batch that a training has memory for."""

import re

import pytest
from hydra import compose, initialize_config_dir

from resnet.cli.trial import Trial, Trials, largest
from resnet.errors import UserError
from tests.entry_point import ROOT, TINY, run


@pytest.mark.parametrize(
    ("start", "limit", "images", "replicas"),
    [
        (32, 1000, 50_000, 1),
        (32, 31, 50_000, 1),
        (64, 1, 50_000, 1),
        (32, 10**9, 1438, 1),
        (32, 700, 701, 4),
        (40, 40, 50_000, 8),
    ],
)
def test_the_largest_is_found_to_a_sixteenth(start, limit, images, replicas):
    tried = []

    def attempt(batch):
        tried.append(batch)
        return Trial(batch, batch, 1.0, images, replicas) if batch <= limit else None

    found, most = largest(attempt, start).batch, min(limit, images // replicas * replicas)
    assert found in tried and len(set(tried)) == len(tried) <= 16
    assert found <= most and most - found <= max(replicas, found / 16)
    assert all(batch % replicas == 0 for batch in tried)


def test_where_nothing_fits():
    with pytest.raises(UserError, match="not even a batch of one"):
        largest(lambda batch: None, 8)


def trials(memory, *overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return Trials(compose("config", [*TINY, *overrides]), None, memory)


def test_what_holds_too_much_is_ended_alone(capsys):
    assert trials(0.1)(8) is None
    assert capsys.readouterr().out == "batch 8: out of memory\n"


def test_another_error_is_told():
    with pytest.raises(UserError, match="loss.teacher: run=none: there is no run"):
        trials(None, "loss=distillation", "loss.teacher=none")(8)


@pytest.mark.slow
def test_as_a_program(tmp_path):
    """By the memory given: what fits is within it, and what is a sixteenth larger is not."""
    large = ("data.train_size=null", "data.test_size=null", "trainer.batch_size=256")
    done = run("batch.py", *TINY, *large, "memory_gb=1.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    found = re.fullmatch(
        r"largest batch: trainer.batch_size=(\d+), (.*) GB, (.*) images/s; 1.10 GB were given", last
    )
    assert int(found[1]) > 1 and float(found[2]) <= 1.1 and float(found[3].replace(",", "")) > 1
    assert ": out of memory" in done.stdout
    assert not list(tmp_path.iterdir())
