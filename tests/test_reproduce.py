"""reproduce.py speaks of a paper only where recipe and data are the paper's."""

import hashlib
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

import resnet
from resnet.cli.check import check
from resnet.data import cifar, cifar10, digits
from resnet.errors import UserError
from resnet.models import resnet_v1
from resnet.report.reproduction import Row, departures, report
from resnet.run.run import Run
from tests.entry_point import ROOT, TINY, result, run
from tests.test_compare import V1, write
from tests.test_data import CIFAR10_LABELS, OPTIONS, write_official_layout

ROWS = sorted(path.stem for path in (ROOT / "conf" / "paper").glob("*.yaml"))
# Millions of weights, those of batch norm not counted: He et al. 2015, table 6; He et al. 2016, table 4.
PARAMETERS = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7, 164: 1.7, 1001: 10.2}
NAME = "he2015_resnet20"
ROW = Row("a paper, table 1", published=0.91, computed="one run", margin=0.005)


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_the_papers_network_and_recipe(name):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        whole = compose("reproduce", [f"paper={name}"], return_hydra_config=True)
        config = compose("reproduce", [f"paper={name}"])
    check(config)
    assert (config.trainer.batch_size, config.trainer.max_steps) == (128, 64_000)
    assert (config.data.train_size, config.data.validation_split) == (None, 0)
    assert name.endswith(f"resnet{config.model.depth}")
    assert ("Warmup" in config.schedule._target_) == (config.model.depth >= 110)  # section 4.2 of 2015
    model = instantiate(config.model, input_shape=(32, 32, 3), num_classes=10)
    kernels = [v for v in model.trainable_variables if "kernel" in v.path]
    millions = sum(v.shape.num_elements() for v in kernels) / 1e6
    assert round(millions, 2 if millions < 1 else 1) == PARAMETERS[config.model.depth]
    node = {k: v for k, v in whole.hydra.callbacks.reproduction.items() if k != "_target_"}
    assert f"ResNet-{config.model.depth}" in Row(**node).source


@pytest.mark.parametrize("edition", [cifar.CIFAR10, cifar.CIFAR100])
def test_the_original_is_known_by_every_byte(edition, tmp_path):
    files = [*edition.train_files, edition.test_file]
    for name in files:
        (tmp_path / name).write_bytes(name.encode() * 100)
    assert not cifar.is_original(tmp_path, edition)
    own = edition._replace(md5=[hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in files])
    assert cifar.is_original(tmp_path, own)
    (tmp_path / edition.test_file).write_bytes(edition.test_file.encode() * 101)
    assert not cifar.is_original(tmp_path, own)


def trained(dataset, directory):
    model = resnet_v1(dataset.image_shape, 10, depth=8)
    with Run(directory) as entered:
        resnet.fit(model, dataset, callbacks={}, run=entered, epochs=1, batch_size=100, max_steps=1)
    return result(directory)["original_data"]


@pytest.mark.slow
def test_a_run_says_whether_its_data_are_the_original(tmp_path, monkeypatch):
    folder = tmp_path / cifar.CIFAR10.folder
    write_official_layout(folder, cifar.CIFAR10, CIFAR10_LABELS, monkeypatch)
    assert trained(cifar10(str(tmp_path), **OPTIONS), tmp_path / "copy") is False
    files = [*cifar.CIFAR10.train_files, cifar.CIFAR10.test_file]
    right = [hashlib.md5((folder / name).read_bytes()).hexdigest() for name in files]
    monkeypatch.setattr(cifar, "CIFAR10", cifar.CIFAR10._replace(md5=right))
    assert trained(cifar10(str(tmp_path), **OPTIONS), tmp_path / "original") is True
    assert trained(digits(**OPTIONS), tmp_path / "digits") is None


TOLD = ("paper=he2015_resnet20", "data.dir=cifar")


def seeds(top, *accuracies, original=True, told=TOLD, **options):
    """Runs of these test accuracies, which were told what `told` says."""
    for seed, accuracy in enumerate(accuracies):
        directory = top / f"seed_{seed}"
        write(directory, [accuracy + 0.01], seed=seed, **options)
        found = result(directory) | {"original_data": original}
        (directory / "result.json").write_text(json.dumps(found))
        (directory / ".hydra" / "overrides.yaml").write_text(json.dumps([*told, f"seed={seed}"]))
    return top


@pytest.mark.parametrize(
    ("accuracies", "word"),
    [
        ((0.910, 0.911, 0.909), "reproduced: 91.00% of 3 seeds; "),
        ((0.900, 0.901, 0.899), "not reproduced: 90.00% of 3 seeds; "),
        ((0.910, 0.916, 0.904), "undecided: 91.00% of 3 seeds; "),
        ((0.910,), "undecided: 91.00% of 1 seed"),
    ],
)
def test_the_papers_figure_is_met_or_not_or_undecided(accuracies, word, tmp_path):
    source, finding = report(ROW, seeds(tmp_path, *accuracies), NAME)
    assert source == "a paper, table 1, one run"
    assert finding.startswith(word)
    assert "the published 91.00% ± 0.50 points" in finding


def test_of_other_data_or_another_recipe_nothing_is_said_of_the_paper(tmp_path):
    """By hand: 90.00 ± 4.303 * 0.1 / sqrt(3)."""
    top = seeds(tmp_path / "copy", 0.900, 0.901, 0.899, original=False)
    first, second = report(ROW, top, NAME)
    assert first == "nothing is said of a paper, table 1: the data are not the original files"
    assert second.startswith("test accuracy 90.00% of 3 seeds, 95% interval 89.75% to 90.25%; to be compared")
    top = seeds(tmp_path / "other", 0.91, 0.91, told=[*TOLD, "trainer.epochs=3"])
    first, second = report(ROW, top, NAME)
    assert first == "nothing is said of a paper, table 1: the recipe is another: trainer.epochs=3"
    assert "published" not in second
    first, _ = report(ROW, top, "he2015_resnet110")
    assert first.endswith("the recipe is another: paper=he2015_resnet20, trainer.epochs=3")
    (top / "seed_0" / ".hydra" / "overrides.yaml").unlink()
    assert report(ROW, top, NAME)[0].endswith("; not all runs record how they were started")


def test_runs_of_different_recipes_are_not_taken_together(tmp_path):
    """Where they lay and how many threads they had makes no other recipe."""
    top = seeds(tmp_path, 0.91, 0.91, threads=1)
    write(top / "seed_2", [0.92], seed=2, threads=2)
    assert "of 3 seeds" in report(ROW, top, NAME)[-1]
    write(top / "seed_3", [0.2], seed=3, model=V1 | {"depth": 8}, status="interrupted")
    assert "of 3 seeds" in report(ROW, top, NAME)[-2]
    write(top / "seed_4", [0.92], seed=4, model=V1 | {"depth": 14}, loss={"_target_": "a.focal"})
    with pytest.raises(UserError) as raised:
        report(ROW, top, NAME)
    assert str(raised.value).splitlines()[0] == (
        f"{top / 'seed_0'} and {top / 'seed_4'} are of different recipes: "
        "model.depth is 20 and 14; loss is absent and focal"
    )


def test_what_is_not_finished_is_named_and_does_not_count(tmp_path):
    top = seeds(tmp_path, 0.91, 0.91)
    write(top / "seed_2", [0.2], seed=2, status="interrupted")
    *_, finding, note = report(ROW, top, NAME)
    assert "of 2 seeds" in finding
    assert note == f"{top / 'seed_2'} is left out: interrupted after 1 epoch"
    alone = tmp_path / "alone"
    write(alone / "seed_0", [0.2], status="running")
    assert (
        report(ROW, alone, NAME)[0] == f"a paper, table 1: nothing can be said, no run in {alone} is finished"
    )


def test_where_and_how_often_it_runs_is_no_other_recipe():
    same = [
        "paper=he2015_resnet20",
        "seed=0,1",
        "data.dir=cifar",
        "threads=2",
        "callbacks.receipt.first_steps=9",
    ]
    other = ["model.depth=32", "++data.train_size=100", "~callbacksx", "data=cifar100", "experiment=paper_v2"]
    assert departures([*same, *other], NAME) == other
    assert departures(same, "he2015_resnet32") == ["paper=he2015_resnet20"]


@pytest.mark.slow
def test_started_again_it_goes_on_and_adds_seeds(tmp_path):
    row = ("paper=he2015_resnet20", *TINY, "trainer.max_steps=2", "trainer.batch_size=20")
    done = run("reproduce.py", *row, "seed=0,1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing is said of He et al. 2015" in done.stdout
    top = tmp_path / "reproductions" / "he2015_resnet20"
    before = {seed: (top / seed / "result.json").read_bytes() for seed in ("seed_0", "seed_1")}
    done = run("reproduce.py", *row, "seed=0,1,2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{Path('reproductions', 'he2015_resnet20', 'seed_1')} is finished" in done.stdout
    assert "of 3 seeds" in (top / "reproduction.txt").read_text()
    assert before == {seed: (top / seed / "result.json").read_bytes() for seed in before}


@pytest.mark.slow
def test_it_says_nothing_of_two_recipes_in_one_directory(tmp_path):
    row = ("paper=he2015_resnet20", *TINY, "trainer.batch_size=20", "hydra.sweep.dir=rep")
    assert run("reproduce.py", *row, "seed=0", "trainer.max_steps=2", cwd=tmp_path).returncode == 0
    before = (tmp_path / "rep" / "reproduction.txt").read_text()
    why = "rep/seed_0 and rep/seed_1 are of different recipes: trainer.max_steps is 2 and 3"
    done = run("reproduce.py", *row, "seed=1", "trainer.max_steps=3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{why}; move away what does not belong there, or give another directory"
    ]
    assert "2 seeds" not in done.stdout
    done = run("reproduce.py", *row, "seed=0", "trainer.max_steps=3", cwd=tmp_path)
    assert done.returncode == 1
    assert why in done.stderr and "trainer.max_steps=3, it was 2" in done.stderr.splitlines()[-1]
    assert (tmp_path / "rep" / "reproduction.txt").read_text() == before


def test_a_row_must_be_named(tmp_path):
    done = run("reproduce.py", "seed=0,1", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "give paper=ROW" in done.stderr and "he2015_resnet20" in done.stderr
