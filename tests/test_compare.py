"""compare.py on run directories as train.py writes them."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from scipy import stats

from resnet.report.comparison import Comparison
from resnet.report.runs import read
from tests.entry_point import ROOT

V1 = {"_target_": "resnet.models.resnet_v1", "depth": 20, "l2": 1e-4}
V2 = {"_target_": "resnet.models.resnet_v2", "depth": 29, "l2": 1e-4, "strided_conv": "1x1"}
DATA = {"_target_": "resnet.data.cifar10", "seed": "${seed}"}


def write(directory, accuracies, status="finished", seed=1, model=V1, watched="validation", **config):
    """A run that watched the split `watched`; its test accuracy is a point less."""
    (directory / ".hydra").mkdir(parents=True)
    config = {"model": model, "data": DATA, "seed": seed, "changes": "refuse", **config}
    (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    with (directory / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["epoch", "step", "train/loss", "train/accuracy", f"{watched}/loss", f"{watched}/accuracy"]
        )
        writer.writerows([i, 9 * i, 1 - a, a + 0.05, 1.1 - a, a] for i, a in enumerate(accuracies, 1))
    result = {"status": status}
    if status == "finished":
        last = accuracies[-1]
        result["validation"] = {"loss": 1.1 - last, "accuracy": last} if watched == "validation" else None
        result["test"] = {"loss": 1.1 - last, "accuracy": last - 0.01, "top5_accuracy": None}
        result["objective"] = {"name": f"{watched}/accuracy", "value": last}
    (directory / "result.json").write_text(json.dumps(result))


def predictions(directory, right, split="test", index=None):
    """A file of predictions; `right` `(N,)` says which images, in the order of `index`, were told rightly.

    Beside it lies which pictures these are.
    """
    index = np.arange(len(right), dtype=np.int32) if index is None else index
    label = (index % 10).astype(np.int32)
    logits = np.eye(10, dtype=np.float16)[(label + ~np.asarray(right, bool)) % 10]
    arrays = {"index": index, "label": label, "logits": logits}
    np.savez(directory / "predictions.npz", **{f"{split}_{name}": array for name, array in arrays.items()})
    pictures(directory, range(index.max() + 1), split)


def pictures(directory, hashes, split="test"):
    np.savez(directory / "split.npz", **{split: np.array(hashes, np.uint64)})


def compared(*directories, **options):
    return Comparison(*read(directories), **options)


@pytest.fixture
def runs(tmp_path):
    write(tmp_path / "multirun" / "0", [0.5, 0.80])
    write(tmp_path / "multirun" / "1", [0.5, 0.84], seed=2)
    write(tmp_path / "multirun" / "2", [0.6, 0.90], model=V1 | {"depth": 32})
    write(tmp_path / "outputs" / "running", [0.95], model=V1 | {"depth": 44}, status="running")
    return tmp_path


def test_seeds_are_one_row_and_the_best_finished_one_comes_first(runs):
    headings, rows = compared(runs / "multirun", runs / "outputs").table()
    assert headings == [
        *("", "run", "depth", "validation accuracy", "95% interval", "test accuracy", "95% interval"),
        *("test loss", "train accuracy", "epochs done", "status", "seeds"),
    ]
    assert [row[:1] + row[2:] for row in rows] == [
        ["A", "32", "90.00%", "–", "89.00%", "–", "0.2000", "95.00%", "2", "finished", "1"],
        ["B", "20", "82.00% ± 2.83", "56.59 to 107.41%", "81.00% ± 2.83", "55.59 to 106.41%",
         "0.2800 ± 0.0283", "87.00% ± 2.83", "2", "finished", "2"],
        ["C", "44", "95.00%", "–", "–", "–", "–", "100.00%", "1", "running", "1"],
    ]  # fmt: skip


def test_only_what_differs(tmp_path):
    """Keys that come with another model say nothing that the model does not."""
    write(tmp_path / "a", [0.5], plateau=None)
    write(
        tmp_path / "b",
        [0.5],
        model=V2,
        plateau={"_target_": "resnet.training.schedules.Plateau", "factor": 0.1},
    )
    assert compared(tmp_path).keys == ["model", "model.depth", "plateau"]


def test_each_run_once_and_a_row_that_is_being_written_not_at_all(runs):
    with (runs / "outputs" / "running" / "metrics.csv").open("a") as file:
        file.write("2,18,0.4,0.5,0.3,0.4")
    found, _ = read([runs, runs / "outputs", runs / "outputs" / "running"])
    assert len(found) == 4
    assert [len(run.epochs) for run in found if run.status == "running"] == [1]


def seeds(top, name, accuracies, depth, first_seed=0, **options):
    for seed, accuracy in enumerate(accuracies, first_seed):
        write(top / f"{name}{seed}", [accuracy], seed=seed, model=V1 | {"depth": depth}, **options)


def test_equal_seeds_are_paired_and_others_not(tmp_path):
    """By hand: 4.303 * 0.001 / sqrt(3) of 2 degrees, 2.788 * sqrt((0.01² + 0.009²) / 3) of 3.956."""
    seeds(tmp_path, "a", [0.90, 0.91, 0.92], 20)
    seeds(tmp_path, "b", [0.911, 0.92, 0.929], 32)
    (sentence,) = compared(tmp_path).verdicts
    assert sentence == (
        "A (depth 32) is better than B (depth 20) by 1.00 ± 0.25 points (paired t, 3 seeds, p = 0.003)"
    )
    seeds(tmp_path / "others", "b", [0.911, 0.92, 0.929], 44, first_seed=5)
    found = compared(*(tmp_path / f"a{seed}" for seed in range(3)), tmp_path / "others")
    (sentence,) = found.verdicts
    assert sentence.startswith("A (depth 44) and B (depth 20) are not to be told apart, 1.00 ± 2.17 points (")
    assert "(Welch's t, 3 and 3 seeds, p = 0.268); about 13 more seeds of each would" in sentence


def test_few_groups_have_all_pairs_and_many_the_best_beside_the_others(tmp_path):
    for group in range(4):
        seeds(tmp_path, f"{group}-", [0.8 + 0.02 * group, 0.801 + 0.02 * group, 0.803], 20 + group)
    assert len(compared(tmp_path).verdicts) == 6
    seeds(tmp_path, "4-", [0.88, 0.881, 0.882], 24)
    many, all_pairs = compared(tmp_path), compared(tmp_path, all_pairs=True)
    assert len(many.verdicts) == 4 and all("A (depth 24)" in sentence for sentence in many.verdicts)
    assert len(all_pairs.verdicts) == 10 and set(many.verdicts) < set(all_pairs.verdicts)
    assert all("among 10 pairs" in sentence for sentence in many.verdicts)
    assert "over all pairs" in many.heading and "--all-pairs shows all 10" in many.heading


def test_validation_ranks_and_where_some_group_has_none_the_test_does_and_says_so(tmp_path):
    write(tmp_path / "held_out", [0.90], model=V1 | {"depth": 20})
    path = tmp_path / "held_out" / "result.json"
    path.write_text(path.read_text().replace('"accuracy": 0.89', '"accuracy": 0.70'))  # of the test
    write(tmp_path / "other", [0.85], model=V1 | {"depth": 32})
    by_validation = compared(tmp_path)
    assert by_validation.ranking.startswith("Ranked by validation accuracy")
    assert [group.label for group in by_validation.groups] == ["depth 20", "depth 32"]
    write(tmp_path / "watched", [0.75], model=V1 | {"depth": 44}, watched="test")
    by_test = compared(tmp_path)
    assert by_test.ranking.startswith("Ranked by test accuracy, for there is no validation accuracy of B:")
    assert [group.label for group in by_test.groups] == ["depth 32", "depth 44", "depth 20"]
    assert by_test.notes == ["B: trained watching the test images, which flatters the test accuracy"]


def test_what_failed_or_cannot_be_read_stops_nothing_and_is_named(tmp_path):
    seeds(tmp_path, "a", [0.90, 0.91, 0.92], 20)
    seeds(tmp_path, "b", [0.911, 0.92, 0.929], 32)
    seeds(tmp_path, "b", [0.1], 32, first_seed=9, status="failed")
    failed = {"status": "failed", "error": "the loss is not finite\nlower the rate"}
    (tmp_path / "b9" / "result.json").write_text(json.dumps(failed))
    write(tmp_path / "cut", [0.9])
    (tmp_path / "cut" / "result.json").write_text('{"status": "fin')
    write(tmp_path / "empty", [0.9])
    (tmp_path / "empty" / ".hydra" / "config.yaml").write_text("")
    write(tmp_path / "begun", [], status="running")
    (tmp_path / "begun" / "metrics.csv").unlink()
    found = compared(tmp_path)
    (sentence,) = found.verdicts
    assert "by 1.00 ± 0.25 points (paired t, 3 seeds" in sentence
    assert found.table()[1][0][3] == "92.00% ± 0.90"
    named = {note.removeprefix(f"{tmp_path}/").partition(" is left out")[0]: note for note in found.notes}
    assert "cannot be read" in named["cut"] and "cannot be read" in named["empty"]
    assert named["b9"].endswith("b9 is left out: failed after 1 epoch: the loss is not finite")
    assert named["begun"].endswith("begun is left out: running after 0 epochs")


def test_folds_are_one_row_with_its_mean_and_interval(tmp_path):
    accuracies = [0.90, 0.92, 0.94]
    for fold, accuracy in enumerate(accuracies):
        write(tmp_path / str(fold), [accuracy], data=DATA | {"folds": 3, "fold": fold})
    found = compared(tmp_path)
    (group,) = found.groups
    summary = group.summary("validation/accuracy")
    low, high = stats.t.interval(0.95, 2, np.mean(accuracies), stats.sem(accuracies))
    assert (summary.mean, summary.low, summary.high) == pytest.approx((0.92, low, high))
    assert any("3 folds share training images" in note for note in found.notes)


def test_a_seed_that_ran_twice_is_one_draw(tmp_path):
    seeds(tmp_path, "a", [0.90, 0.92], 20)
    seeds(tmp_path / "again", "a", [0.91, 0.92], 20)
    found = compared(tmp_path)
    assert found.groups[0].values("validation/accuracy") == {0: pytest.approx(0.905), 1: 0.92}
    assert found.table()[1][0][-1] == "2"
    assert "A: seed 0 ran 2 times and counts once, by its mean" in found.notes


def test_networks_of_single_seeds_are_compared_image_by_image(tmp_path):
    """Of 20 images that one alone has right it is 17 to 3: p by hand, 3 by half, as mid-p asks."""
    right = np.ones((2, 400), bool)
    right[0, :3], right[1, 3:20] = False, False
    order = np.random.default_rng(0).permutation(400).astype(np.int32)
    write(tmp_path / "a", [0.9], watched="test")
    write(tmp_path / "b", [0.8], watched="test", model=V2)
    predictions(tmp_path / "a", right[0])
    predictions(tmp_path / "b", right[1][order], index=order)
    (sentence,) = compared(tmp_path).verdicts
    p = 2 * (1 + 20 + 190 + 1140 / 2) / 2**20
    first, second = "model resnet_v1, depth 20", "model resnet_v2, depth 29"
    assert sentence.startswith(f"the network of A ({first}) is better than that of B ({second}) by 3.50 ± ")
    assert f"(McNemar's mid-p, 400 images, p = {p:.3f}); one seed each" in sentence


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda a, b: (b / "predictions.npz").unlink(),
            "one seed each, and {b}/predictions.npz is not there",
        ),
        (lambda a, b: predictions(b, [True] * 40, "test"), "has no validation images"),
        (
            lambda a, b: predictions(b, [True] * 40, "validation", np.arange(5, 45)),
            "validation images differ",
        ),
        (lambda a, b: (b / "predictions.npz").write_bytes(b"PK"), "{b}/predictions.npz cannot be read"),
        (
            lambda a, b: (b / "split.npz").unlink(),
            "one seed each, and {b}/split.npz is not there; give more seeds",
        ),
        (lambda a, b: write(b / "more", [0.8], seed=2, model=V2), "it takes two seeds of each"),
    ],
)
def test_no_verdict_of_single_seeds_without_the_outcomes_of_the_same_images(change, why, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    write(a, [0.9])
    write(b, [0.8], model=V2)
    for directory in (a, b):
        predictions(directory, [True] * 40, "validation")
    change(a, b)
    (sentence,) = compared(tmp_path).verdicts
    assert ": no verdict, " in sentence and why.format(b=b) in sentence


def test_no_verdict_over_different_data(tmp_path):
    seeds(tmp_path, "a", [0.90, 0.91], 20)
    seeds(tmp_path, "b", [0.70, 0.72], 20, data=DATA | {"_target_": "resnet.data.cifar100"})
    assert compared(tmp_path).verdicts == [
        "A (data cifar10) and B (data cifar100): no verdict, their data differ"
    ]


FOLDER = DATA | {"_target_": "resnet.data.image_folder", "dir": "photos", "image_size": 32, "test_split": 0.2}


def judged(top, name, data, hashes=None, depth=20, **options):
    """Three seeds of these data; `hashes` of a seed are those of its validation and test pictures."""
    seeds(top, name, [0.80, 0.83, 0.87] if name == "a" else [0.70, 0.72, 0.75], depth, data=data, **options)
    for seed in range(3 if hashes else 0):
        np.savez(top / f"{name}{seed}" / "split.npz", validation=hashes(seed), test=hashes(seed) + 50)


@pytest.mark.parametrize(
    ("option", "watched", "why"),
    [
        ({"dir": "photos2"}, "validation", "their data.dir differ"),
        ({"dir": "photos2"}, "test", "their data.dir differ"),
        ({"dir": "photos2", "test_split": 0.3}, "test", "their data.dir and data.test_split differ"),
        ({"classes": ["cat", "dog"]}, "test", "their data.classes differ"),
        ({"test_size": 20}, "test", "their data.test_size differ"),
        ({"validation_split": 0.2}, "validation", "their data.validation_split differ"),
        ({"seed": 0}, "test", "their data.seed differ"),
        ({"own_option": 1}, "test", "their data.own_option differ"),
    ],
)
def test_no_verdict_between_seeds_that_other_pictures_judged(option, watched, why, tmp_path):
    judged(tmp_path, "a", FOLDER, watched=watched)
    judged(tmp_path, "b", FOLDER | option, watched=watched)
    (sentence,) = compared(tmp_path).verdicts
    assert sentence.endswith(f": no verdict, {why}")


@pytest.mark.parametrize("watched", ["validation", "test"])
@pytest.mark.parametrize(
    "option",
    [
        {"normalization": "channel"},
        {"train_size": 40},
        {"label_noise": 0.2},
        {"balance": True},
        {"memory": "streamed", "shards": "elsewhere"},
        {"image_size": 64},
    ],
)
def test_what_decides_only_how_a_network_trains_is_what_verdicts_are_for(option, watched, tmp_path):
    judged(tmp_path, "a", FOLDER, watched=watched)
    judged(tmp_path, "b", FOLDER | option, watched=watched)
    (sentence,) = compared(tmp_path).verdicts
    assert "is better than" in sentence and "paired t, 3 seeds" in sentence


def test_less_to_train_on_is_less_to_cut_validation_images_from(tmp_path):
    """Others at each seed, so that their draw is part of the spread; not where one draw is for all seeds."""
    judged(tmp_path, "a", FOLDER, lambda seed: np.arange(20) + seed)
    judged(tmp_path, "b", FOLDER | {"train_size": 40}, lambda seed: np.arange(4) + seed)
    assert "is better than" in compared(tmp_path).verdicts[0]
    one = FOLDER | {"seed": 0}
    judged(tmp_path / "one", "a", one)
    judged(tmp_path / "one", "b", one | {"train_size": 40})
    assert compared(tmp_path / "one").verdicts[0].endswith("no verdict, their data.train_size differ")
    judged(tmp_path / "test", "a", one, watched="test")
    judged(tmp_path / "test", "b", one | {"train_size": 40}, watched="test")
    assert "is better than" in compared(tmp_path / "test").verdicts[0]


def test_what_the_runs_know_of_their_pictures_goes_before_where_these_lay(tmp_path):
    judged(tmp_path, "a", FOLDER, lambda seed: np.arange(20) + seed)
    judged(tmp_path, "b", FOLDER | {"dir": "/elsewhere/photos"}, lambda seed: np.arange(20)[::-1] + seed)
    assert "is better than" in compared(tmp_path).verdicts[0]
    judged(tmp_path / "changed", "a", FOLDER, lambda seed: np.arange(20) + seed)
    judged(tmp_path / "changed", "b", FOLDER, lambda seed: np.arange(21) + seed, depth=32)
    why = "no verdict, their validation images differ, as split.npz shows"
    assert compared(tmp_path / "changed").verdicts[0].endswith(why)


def test_no_verdict_image_by_image_where_each_seed_drew_its_own_test(tmp_path):
    """Of a folder sorted by class the labels of both are the same."""
    for seed, name in enumerate("ab"):
        write(tmp_path / name, [0.9], watched="test", data=FOLDER, seed=seed, model=V1 | {"depth": 20 + seed})
        predictions(tmp_path / name, [True] * 20 + [bool(seed)] * 20)
        pictures(tmp_path / name, np.arange(40) + 39 * seed)
    (sentence,) = compared(tmp_path).verdicts
    assert sentence.endswith("no verdict, one seed each, and their test images differ; give more seeds")


def test_long_labels_stay_out_of_the_sentences(tmp_path):
    for depth in (20, 32):
        seeds(tmp_path, f"{depth}-", [0.8, 0.81], depth, augmentation={"name": "x" * 40 + str(depth)})
    assert compared(tmp_path).verdicts[0].startswith("A and B")


def start(*arguments, cwd):
    command = [sys.executable, str(ROOT / "compare.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
def test_terminal_markdown_csv_and_figure(runs):
    write(runs / "multirun" / "3", [0.6, 0.92], model=V1 | {"depth": 32}, seed=2)
    write(runs / "outputs" / "begun", [], status="running", model=V1 | {"depth": 56})
    done = start("multirun", "outputs", cwd=runs)
    assert done.returncode == 0, done.stderr
    verdict = "A (depth 32) and B (depth 20) are not to be told apart, 9.00 ± 12.71 points (paired t, 2 seeds"
    output = runs / "comparison"
    for text in (done.stdout, (output / "comparison.md").read_text()):
        assert "82.00% ± 2.83" in text and verdict in text and "multirun/0 +1" in text
        assert "Ranked by validation accuracy" in text
        assert "outputs/running is left out: running after 1 epoch" in text
    assert "| B | multirun/0 +1 | 20 | 82.00% ± 2.83 |" in (output / "comparison.md").read_text()
    rows = list(csv.DictReader((output / "comparison.csv").open()))
    assert [(row["group"], row["model.depth"], row["seed"], row["validation/accuracy"]) for row in rows] == [
        ("A", "32", "1", "0.9"),
        ("A", "32", "2", "0.92"),
        ("B", "20", "1", "0.8"),
        ("B", "20", "2", "0.84"),
        ("C", "44", "1", "0.95"),
        ("D", "56", "1", ""),
    ]
    assert (output / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_no_run(tmp_path):
    done = start("outputs", cwd=tmp_path)
    assert done.returncode == 1
    assert "outputs: there is no run" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_directory_without_a_run_is_named_and_nothing_is_written(tmp_path):
    write(tmp_path / "a", [0.9])
    (tmp_path / "empty").mkdir()
    done = start("a", "typo", "empty", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("typo, empty: there is no run; expected")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]


def test_what_cannot_be_written_ends_in_a_line_and_stays_what_it_was(tmp_path):
    write(tmp_path / "a", [0.9])
    (tmp_path / "notes.txt").write_text("mine")
    done = start("a", "--output", "notes.txt", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "--output notes.txt is a file; expected a directory" in done.stderr
    done = start("a", "--output", "notes.txt/here", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "notes.txt/here cannot be written" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
