"""walk.py: the recipes between two others, and what is said of them."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from resnet.cli.recipes import differing, mixture, recipe, write
from resnet.errors import UserError
from resnet.report import figures
from resnet.report.walk import Gain, Walk, report, settings
from tests.entry_point import ROOT, TINY, result, run
from tests.test_compare import write as write_run

CONF = ROOT / "conf"
COMMON = ["data.validation_split=0.1", "trainer.watch=validation", "trainer.epochs=4"]
CHANGES = ["model", "optimizer", "loss"]


def test_each_change_is_added_once_and_left_out_once():
    found = settings("old", "new", CHANGES)
    assert [(setting.name, sorted(setting.nodes)) for setting in found] == [
        ("0_old", []),
        ("1_model", ["model"]),
        ("2_optimizer", ["model", "optimizer"]),
        ("3_new", ["loss", "model", "optimizer"]),
        ("without_model", ["loss", "optimizer"]),
        ("without_optimizer", ["loss", "model"]),
    ]  # without the loss, it is the one before the end
    assert [setting.name for setting in settings("old", "new", ["model"])] == ["0_old", "1_new"]


def composed(experiment, folder, *overrides):
    """As train.py composes it with `--config-dir`, without what only the program knows."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "config", [f"hydra.searchpath=[file://{folder}]", f"experiment={experiment}", *overrides]
        )
    return OmegaConf.to_container(config)


@pytest.mark.parametrize("end", ["fast_cpu", "paper_v2", "demo"])
def test_a_recipe_that_is_written_composes_to_what_it_was_mixed_from(end, tmp_path):
    first, last = (recipe(CONF, name, COMMON) for name in ("keras_example", end))
    changes = differing(first, last)
    for i in range(len(changes) + 1):
        write(mixture(first, last, set(changes[:i])), tmp_path / "experiment" / f"at_{i}.yaml")
        expected = first.nodes | {name: last.nodes[name] for name in changes[:i]}
        assert composed(f"at_{i}", tmp_path) == expected
    assert composed("at_0", tmp_path) == composed("keras_example", tmp_path, *COMMON)
    assert composed(f"at_{len(changes)}", tmp_path) == composed(end, tmp_path, *COMMON)


def test_the_changes_from_the_keras_example_to_fast_cpu():
    first, last = (recipe(CONF, name, COMMON) for name in ("keras_example", "fast_cpu"))
    assert differing(first, last) == [
        *("data", "model", "optimizer", "augmentation", "schedule", "loss", "init", "freeze", "trainer")
    ]
    assert differing(first, recipe(CONF, "keras_example", [*COMMON, "optimizer=sgd"])) == ["optimizer"]


NOISE = np.array([-0.002, 0.001, 0.001])  # of the seeds, which all recipes share
OWN = {  # of each recipe on top of that
    "0_old": (0.80, [0.0000, 0.0000, 0.0000]),
    "1_model": (0.85, [0.0001, -0.0002, 0.0001]),
    "2_optimizer": (0.85, [0.0040, -0.0080, 0.0040]),
    "3_new": (0.88, [0.0002, 0.0000, -0.0002]),
    "without_model": (0.84, [0.0000, 0.0001, -0.0001]),
    "without_optimizer": (0.88, [0.0030, -0.0020, -0.0010]),
}


def write_walk(top, leave_out=(), **options):
    nodes = {setting.name: setting.nodes for setting in settings("old", "new", CHANGES)}
    for name, (mean, own) in OWN.items():
        recipe = {change: {"named": change in nodes[name]} for change in CHANGES} | options
        for seed, accuracy in enumerate(mean + NOISE + own):
            if (name, seed) not in leave_out:
                write_run(top / name / f"seed_{seed}", [float(accuracy)], seed=seed, **recipe)


def test_what_a_change_adds_and_what_the_end_lacks_without_it(tmp_path):
    """By hand: the model adds 5.01, 4.98 and 5.01 points, 5 ± 4.303 * 0.0173 / sqrt(3).

    Its values lie -0.19, 0.08 and 0.11 from their mean, whose interval is ± 4.303 * 0.165 / sqrt(3).
    """
    write_walk(tmp_path)
    walk = Walk("old", "new", CHANGES, tmp_path)
    headings, rows = walk.table()
    assert headings[4:] == ["change", "adds", "new without it", "lacks"]
    assert [row[1] for row in rows] == ["old", "+ model", "+ optimizer", "new"]
    assert rows[1][2:] == [
        "85.00% ± 0.17",
        "84.59 to 85.41%",
        "model",
        "+5.00 ± 0.04 *",
        "84.00% ± 0.17",
        "+4.00 ± 0.04 *",
    ]
    assert rows[2][4:6] == ["optimizer", "+0.00 ± 1.68"]
    assert rows[3][5] == rows[3][7]  # the last change is added where it is left out
    assert len(walk.verdicts) == 5
    assert all("among 5 pairs" in sentence for sentence in walk.verdicts)
    assert walk.verdicts[0].startswith("B (+ model) is better than A (old) by 5.00 ± 0.04 points (paired t")


def test_a_walk_that_is_not_done_says_what_is_missing(tmp_path):
    write_walk(tmp_path, leave_out=[("3_new", seed) for seed in range(3)])
    write_run(tmp_path / "3_new" / "seed_0", [0.5], status="interrupted")
    walk = Walk("old", "new", CHANGES, tmp_path)
    assert len(walk.verdicts) == 2
    assert walk.table()[1][3][2:] == ["–", "–", "loss", "–", "85.00% ± 0.62", "–"]
    assert any("3_new/seed_0 is left out: interrupted" in note for note in walk.notes)


@pytest.mark.parametrize(
    ("place", "other"), [("1_model/seed_0", "1_model"), ("without_model/seed_0", "3_new")]
)
def test_runs_of_an_earlier_walk_with_other_options_are_not_taken_for_its_own(place, other, tmp_path):
    """Beside others of the same recipe; and alone, beside the recipe without the change."""
    left_out = ("without_model", 0), ("without_model", 1), ("without_model", 2), ("1_model", 0)
    write_walk(tmp_path, left_out, trainer={"epochs": 2})
    model = {
        change: {"named": change in ("model" if place[0] == "1" else "optimizer, loss")} for change in CHANGES
    }
    write_run(tmp_path / place, [0.6], seed=0, trainer={"epochs": 1}, threads=2, **model)
    with pytest.raises(UserError) as raised:
        Walk("old", "new", CHANGES, tmp_path)
    text = str(raised.value)
    assert str(tmp_path / place) in text and str(tmp_path / other) in text
    assert text.splitlines()[0].endswith(("trainer.epochs is 2 and 1", "trainer.epochs is 1 and 2"))


def test_a_walk_leaves_a_table_and_a_picture(tmp_path, capsys):
    write_walk(tmp_path)
    report(Walk("old", "new", CHANGES, tmp_path), tmp_path)
    assert (tmp_path / "walk.png").read_bytes().startswith(b"\x89PNG")
    assert "| B | + model | 85.00% ± 0.17 |" in (tmp_path / "walk.md").read_text()
    assert "walk.md, walk.png" in capsys.readouterr().out


def test_the_picture_shows_gains_in_points_and_leaves_out_what_is_not_known():
    rows = [("model", Gain(0.05, 0.04, 0.06, True), None), ("loss", Gain(-0.01), Gain(0.002, -0.01, 0.014))]
    (axes,) = figures.walk(rows, "old", "new", "validation accuracy").axes
    points = {
        line.get_xdata()[0]: line
        for line in axes.lines
        if line.get_marker() in "os" and len(line.get_xdata())
    }
    assert sorted(points) == pytest.approx([-1.0, 0.2, 5.0])
    faces = {round(x, 1): line.get_markerfacecolor() for x, line in points.items()}
    assert faces[5.0] != "white" and faces[-1.0] == faces[0.2] == "white"
    intervals = sorted(tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == "|")
    np.testing.assert_allclose(intervals, [(-1.0, 1.4), (4.0, 6.0)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("demo", "demo"), "demo and demo are the same recipe"),
        (("demo", "nowhere"), "experiment/nowhere"),
        (("keras_example", "fast_cpu"), "trainer/strategy=single"),
        (("demo", "fast_cpu", "model.depth=9"), "model.depth=9"),
        (("demo", "fast_cpu", "model.dept=8"), "did you mean depth?"),
    ],
)
def test_what_cannot_be_is_refused_in_two_lines(arguments, words, tmp_path):
    done = run("walk.py", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seeds", ["0", "-1", "two"])
def test_a_walk_has_a_seed_at_least(seeds, tmp_path):
    done = run("walk.py", "demo", "seed", "--seeds", seeds, cwd=tmp_path)
    assert done.returncode == 2
    assert f"argument --seeds: {seeds}: expected a whole number from 1" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_walk_trains_each_recipe_once_and_goes_on(tmp_path):
    """The two differ in their schedule and, for the precision, in their trainer."""
    short = (*TINY, "trainer.epochs=1", "trainer.batch_size=20", "model.shortcut=projection")
    command = ("paper_v1", "degradation", *short, "--seeds", "1")
    done = run("walk.py", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    top = tmp_path / "walks" / "paper_v1-degradation"
    names = ["0_paper_v1", "1_schedule", "2_degradation", "without_schedule"]
    assert sorted(path.parent.parent.name for path in top.rglob("result.json")) == names
    schedules = [
        OmegaConf.load(top / name / "seed_0" / ".hydra" / "config.yaml").schedule._target_.rpartition(".")[2]
        for name in names
    ]
    assert schedules == ["Steps", "OneCycle", "OneCycle", "Steps"]
    before = {name: result(top / name / "seed_0") for name in names}
    table = (top / "walk.md").read_text()
    done = run("walk.py", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is finished: ") == 4
    assert before == {name: result(top / name / "seed_0") for name in names}
    assert (top / "walk.md").read_text() == table
