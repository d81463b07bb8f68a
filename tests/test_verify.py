"""verify.py tells a true run from a doctored one, by its first steps."""

import json
import re
import shutil

import keras
import numpy as np
import pytest

import resnet
from resnet.errors import UserError
from resnet.models import resnet_v1
from resnet.report import verification
from resnet.report.verification import judge, steering
from resnet.run.callbacks import Checkpoints, MetricsCsv, Progress, Receipt
from resnet.run.directory import RunDirectory
from resnet.run.run import Run
from tests.entry_point import TINY, run, train
from tests.test_trainer import small_digits

HERE = {"tensorflow": "2.21.0", "precision": "float32", "threads": 2, "replicas": 1}


def receipt(losses=(2.5, 2.25, 2.0), before="a", after="b", **circumstances):
    record = {"losses": losses, "weights_before": before, "weights_after": after, "images": 7}
    return verification.Receipt.model_validate(record | {"circumstances": HERE | circumstances})


def test_equal_steps_are_the_same_bit_for_bit_whatever_the_circumstances():
    for here, deterministic in ((receipt(), True), (receipt(tensorflow="3"), False)):
        same, (sentence,) = judge(receipt(), here, deterministic)
        assert same
        assert sentence == "the same bit for bit: losses of 3 steps, weights before and after"


@pytest.mark.parametrize(
    ("found", "deterministic", "words"),
    [
        (receipt(after="c"), True, "not the weights after the last step"),
        (receipt((2.5, np.nextafter(np.float32(2.25), np.float32(3)), 2.0)), True, "loss of step 2 is"),
        (receipt((2.5, 2.25, 2.1)), True, "loss of step 3 is 2.1, it was 2.0: 5.0e-02 of it apart"),
        (receipt((2.5, 2.25, 2.3)), False, "loss of step 3 is 2.3"),
        (receipt((2.51, 2.25, 2.0)), False, "loss of step 1 is 2.51"),
        (receipt((2.51, 2.25, 2.0), tensorflow="3"), True, "loss of step 1 is 2.51"),
        (receipt((2.5, 2.25)), False, "the training ends after step 2"),
        (receipt(before="z"), False, "the weights before step 1 are not the run's"),
    ],
)
def test_what_rounding_cannot_explain_is_another_run(found, deterministic, words):
    same, sentences = judge(receipt(), found, deterministic)
    assert not same
    assert sentences[0].startswith("other: ")
    assert words in sentences[0]


@pytest.mark.parametrize(
    ("circumstances", "deterministic", "reason"),
    [({"threads": 8}, True, "threads is 8, it was 2"), ({}, False, "trainer.deterministic=false")],
)
def test_last_bits_may_differ_where_something_else_does(circumstances, deterministic, reason):
    near = receipt((2.5, 2.25 * (1 + 2e-6), 2.0), after="c", **circumstances)
    same, sentences = judge(receipt(), near, deterministic)
    assert same
    assert sentences == [
        "the same within rounding: losses of 3 steps, at most 2.0e-06 of a loss apart",
        f"not to the last bit, for {reason}; metrics.csv is not compared",
    ]


def test_rows_of_metrics_csv_count_as_far_as_the_steps_cover_them():
    history = [
        {"epoch": n, "step": 10 * n, "train": {"loss": 2.0 / n}, "time": {"ended_at": n}} for n in (1, 2)
    ]
    rows = [{"epoch": 1.0, "step": 10.0, "train/loss": 2.0}, {"epoch": 2.0, "step": 25.0, "train/loss": 9.0}]
    same, (sentence,) = judge(receipt(), receipt(), True, rows, history)
    assert same
    assert sentence.endswith("epochs 1 to 1 of metrics.csv")
    rows[0]["train/loss"] = 1.9
    same, (sentence,) = judge(receipt(), receipt(), True, rows, history)
    assert not same
    assert sentence == "other: train/loss of epoch 1 in metrics.csv is 1.9, repeated it is 2.0"


def test_what_only_writes_or_tells_is_not_repeated():
    """A repetition must not write over the files of the run."""
    stop, rate = keras.callbacks.EarlyStopping(), keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
    writers = [keras.callbacks.ModelCheckpoint("best.keras"), keras.callbacks.CSVLogger("a.csv")]
    given = [stop, rate, Progress(), MetricsCsv(), Checkpoints(), *writers]
    kept = steering(dict(enumerate(given)))
    assert list(kept) == [0, 1]


class Note(keras.callbacks.Callback):
    """Of Keras, and yet with a run, which a training gives it."""

    def on_train_begin(self, logs=None):
        assert self.run.directory.path.is_dir()


@pytest.mark.slow
def test_a_callback_of_keras_that_needs_a_run_is_told_what_to_derive_from(tmp_path):
    note = "+callbacks.note._target_=tests.test_verify.Note"
    done = train(*TINY, "trainer.epochs=1", note, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = verified(tmp_path / "run")
    assert done.returncode == 1
    assert "Note uses self.run" in done.stderr and "resnet.run.callbacks.Callback" in done.stderr


class Stop(resnet.run.callbacks.Callback):
    """Ends the program, as it were, after the 7th step."""

    def steps_to_next(self, step):
        return 7 - step if step < 7 else None

    def on_train_batch_end(self, batch, logs=None):
        if self.trainer.step == 7:
            raise OSError("the power is gone")


def recorded(directory, *further):
    keras.utils.set_random_seed(3)
    dataset = small_digits()
    model = resnet_v1(dataset.image_shape, 10, depth=8)
    callbacks = {"checkpoints": Checkpoints(minutes=0.0), "receipt": Receipt(20)}
    callbacks |= {type(callback).__name__: callback for callback in further}
    with Run(directory) as entered:
        resnet.fit(model, dataset, callbacks=callbacks, run=entered, epochs=3, batch_size=20)


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_with_a_whole_receipt(tmp_path):
    with pytest.raises(OSError, match="power"):
        recorded(tmp_path / "cut", Stop())
    begun = verification.read(RunDirectory(tmp_path / "cut"))
    assert len(begun.losses) == 7
    recorded(tmp_path / "cut")
    whole = verification.read(RunDirectory(tmp_path / "cut"))
    assert len(whole.losses) == 20
    assert whole.losses[:7] == begun.losses
    assert whole.weights_before == begun.weights_before
    recorded(tmp_path / "uncut")
    uncut = verification.read(RunDirectory(tmp_path / "uncut"))
    assert whole.weights_before == uncut.weights_before
    np.testing.assert_allclose(whole.losses, uncut.losses, rtol=1e-2)
    assert len({whole.weights_before, begun.weights_after, whole.weights_after}) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no receipt.json"),
        ("{", "no JSON"),
        ('{"losses": []}', "damaged: losses"),
        ('{"losses": [NaN]}', "damaged: losses.0"),
        ("[]", "damaged: all of it"),
        (
            json.dumps(receipt().model_dump() | {"configurations": [{"step": 0, "text": "a: ["}]}),
            "damaged: configurations.0.text: .*no configuration in yaml",
        ),
    ],
)
def test_a_receipt_that_cannot_be_read_is_named(text, words, tmp_path):
    if text is not None:
        (tmp_path / "receipt.json").write_text(text)
    with pytest.raises(UserError, match=words):
        verification.read(RunDirectory(tmp_path))


RUN = (*TINY, "trainer.epochs=3", "trainer.batch_size=10", "data.seed=3")


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("honest")
    done = train(*RUN, "trainer.deterministic=true", "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def verified(directory, *arguments):
    done = run("verify.py", f"run={directory.name}", *arguments, cwd=directory.parent)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.slow
def test_a_true_run_is_the_same_bit_for_bit_and_stays_as_it_is(honest):
    before = {path: path.read_bytes() for path in honest.rglob("*") if path.is_file()}
    done = verified(honest)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same bit for bit: losses of 20 steps" in done.stdout
    assert "epochs 1 to 2 of metrics.csv" in done.stdout
    assert before == {path: path.read_bytes() for path in honest.parent.rglob("*") if path.is_file()}


def other_loss(directory):
    path = directory / "receipt.json"
    text = json.loads(path.read_text())
    text["losses"][6] *= 1 - 1e-6
    path.write_text(json.dumps(text))


def other_accuracy(directory):
    """In the second epoch of metrics.csv, by a hundredth."""
    path = directory / "metrics.csv"
    head, first, second, *rest = path.read_text().splitlines()
    column = head.split(",").index("validation/accuracy")
    cells = second.split(",")
    cells[column] = str(float(cells[column]) + 0.01)
    path.write_text("\n".join([head, first, ",".join(cells), *rest]) + "\n")


def configured(pattern, replacement, receipt=True):
    """In config.yaml and, where `receipt`, in the receipt too."""

    def changed(text):
        text, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
        assert count == 1
        return text

    def change(directory):
        path = directory / ".hydra" / "config.yaml"
        path.write_text(changed(path.read_text()))
        if receipt:
            path = directory / "receipt.json"
            said = json.loads(path.read_text())
            said["configurations"][0]["text"] = changed(said["configurations"][0]["text"])
            path.write_text(json.dumps(said))

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("doctor", "words"),
    [
        (other_loss, "other: the loss of step 7 is"),
        (other_accuracy, "other: validation/accuracy of epoch 2 in metrics.csv"),
        (configured("^seed: 0", "seed: 1"), "other: the weights before step 1"),
        (
            configured("^seed: 0", "seed: 1", receipt=False),
            "other: its configuration is not that of its training: seed=1, it was 0",
        ),
        (configured("learning_rate: 0.001", "learning_rate: 0.002"), "other: the loss of step 2 is"),
        (configured("epochs: 3", "epochs: 1"), "other: the training ends after step 10"),
        (configured("train_size: 125", "train_size: 130"), "other: the training images are not the run's"),
    ],
    ids=["loss", "metrics.csv", "seed", "config.yaml", "rate", "epochs", "data"],
)
def test_a_doctored_run_is_found_out(doctor, words, honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    doctor(tmp_path / "run")
    done = verified(tmp_path / "run")
    assert done.returncode == 1
    assert words in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("steps", [20, 5])
def test_a_run_that_went_on_with_changes_is_the_same_as_far_as_it_began(steps, tmp_path):
    """After `steps`, within those of the receipt or behind them, it takes another curve and other data."""
    first = (
        *TINY,
        "trainer.epochs=2",
        "trainer.batch_size=10",
        "schedule=cosine",
        f"trainer.max_steps={steps}",
    )
    exact = ("trainer.deterministic=true", "hydra.run.dir=run")
    assert train(*first, *exact, cwd=tmp_path).returncode == 0
    changed = ("changes=allow", "trainer.epochs=4", "trainer.max_steps=null", "data.train_size=120")
    assert train("resume=run", *changed, cwd=tmp_path).returncode == 0
    done = verified(tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"the same bit for bit: losses of {steps} steps" in done.stdout
    assert f"after step {steps} the run went on with another configuration: " in done.stdout
    assert "trainer.epochs=4, it was 2" in done.stdout
    path = tmp_path / "run" / "receipt.json"
    record = json.loads(path.read_text())
    del record["configurations"]  # as older ones are
    path.write_text(json.dumps(record))
    done = verified(tmp_path / "run")
    assert "other: the training images are not the run's" in done.stderr


@pytest.mark.slow
def test_a_run_that_is_not_deterministic_is_the_same_within_rounding(tmp_path):
    assert train(*RUN, "threads=1", "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    path = tmp_path / "run" / "receipt.json"
    text = json.loads(path.read_text())
    text["circumstances"]["threads"] = 2  # the sums of two threads are others
    path.write_text(json.dumps(text))
    done = verified(tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same within rounding" in done.stdout
    assert "trainer.deterministic=false" in done.stdout
