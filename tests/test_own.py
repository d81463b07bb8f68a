"""A package of one's own, used as its README says, from another working directory."""

import csv
import os
import shutil

import pytest

from tests.entry_point import ROOT, result, run, train

EXAMPLE = ROOT / "examples" / "my_research"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The package where it was copied to, importable, and a run of its experiment."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(EXAMPLE, folder / "mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(filter(None, [str(folder / "mine"), os.environ.get("PYTHONPATH")]))
        )
        conf = ("--config-dir", str(folder / "mine" / "my_research" / "conf"))
        done = train(*conf, "experiment=stripes", "hydra.run.dir=run", cwd=folder)
        assert done.returncode == 0, done.stderr
        yield folder


@pytest.mark.slow
def test_all_its_parts_take_part(own):
    found = result(own / "run")
    assert found["test"]["accuracy"] > 0.9
    assert 0.5 < found["test"]["confidence"] <= 1
    assert found["epochs"] < 30  # stopped when good
    (*_, row) = csv.DictReader((own / "run" / "metrics.csv").open())
    assert float(row["validation/confidence"]) > 0.5


@pytest.mark.slow
def test_it_is_evaluated_and_predicts_like_any_other(own):
    done = run("evaluate.py", "run=run", cwd=own)
    assert done.returncode == 0, done.stderr
    assert "100 test images" in done.stdout
    assert "lying" in done.stdout


@pytest.mark.slow
def test_it_is_found_by_searchpath_and_swept(own):
    path = "hydra.searchpath=[pkg://my_research.conf]"
    short = ("trainer.max_steps=3", "hydra.sweep.dir=sweep")
    done = train("-m", path, "experiment=stripes_sweep", *short, cwd=own)
    assert done.returncode == 0, done.stderr
    assert (own / "sweep" / "comparison.md").exists()
    assert result(own / "sweep" / "1")["status"] == "finished"


@pytest.mark.slow
def test_it_goes_on_where_it_was_cut_off(own):
    conf = ("--config-dir", str(own / "mine" / "my_research" / "conf"))
    short = ("trainer.max_steps=12", "hydra.run.dir=parts")
    assert train(*conf, "experiment=stripes", *short, cwd=own).returncode == 0
    done = train("resume=parts", "trainer.max_steps=20", "changes=allow", cwd=own)
    assert done.returncode == 0, done.stderr
    assert "going on after step 12" in done.stdout
