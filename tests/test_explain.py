"""explain.py as a user starts it, and what all of its pictures keep."""

import csv
import inspect
import shutil

import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from resnet.errors import ConfigError, UserError
from resnet.models import plain, resnet_v1
from resnet.report import explain
from resnet.report.figures import png
from resnet.report.subject import Subject
from resnet.run.callbacks.receipt import fingerprint
from resnet.run.directory import RunDirectory
from tests.entry_point import DRAWN, ROOT, TINY, run, train
from tests.explanations import dataset, subject

OF_FILES = ("calibration", "data_map", "trajectory")  # which look at what a run has left, not at its network
SHARED = {"seed", "images"}  # interpolated from above
FEW = ("count=20", "landscape.points=2", "trajectory.points=5", "lesion.draws=1")  # what must be computed
PLAIN = [name for name in explain.names() if name not in OF_FILES]


@pytest.mark.parametrize("name", explain.names())
def test_options_of_a_picture_are_those_of_yaml(name):
    written = yaml.safe_load((ROOT / "conf" / "explain.yaml").read_text("utf-8")).get(name) or {}
    parameters = inspect.signature(explain.find(name)).parameters
    options = {n: p.default for n, p in parameters.items() if p.kind == p.KEYWORD_ONLY}
    assert list(parameters)[:2] == ["networks", "dataset"]
    assert {n: v for n, v in written.items() if not str(v).startswith("${")} == {
        n: v for n, v in options.items() if n in options.keys() - SHARED
    }
    assert written.keys() == options.keys()


def test_help_names_every_picture_and_what_it_shows():
    for name, line in zip(explain.names(), explain.described().splitlines(), strict=True):
        assert line.split() == [name, *line.split()[1:]]
        assert len(line.split()) > 4, line


@pytest.mark.parametrize(
    ("wanted", "words"), [("leison", "did you mean lesion"), ("zzz", "there are .*gradients, ")]
)
def test_another_name_is_refused_with_the_nearest(wanted, words):
    with pytest.raises(ConfigError, match=f"what={wanted}: there is no such picture; {words}"):
        explain.check(["lesion", wanted])


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_a_picture_of_two_networks_has_equal_rows_and_both_names(name):
    networks = [subject(f((16, 16, 3), 3, 14), label) for f, label in ((resnet_v1, "$a_1$"), (plain, "b"))]
    found = explain.find(name)(networks, dataset())
    rows = list(csv.DictReader(found.csv().splitlines()))
    assert len(rows) == len(found.rows) > 0
    assert "$a_1$" in found.sentence and "b" in found.sentence
    assert png(found.figure).startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    for family in ("resnet_v1", "plain"):
        options = (
            "trainer.epochs=2",
            f"model={family}",
            f"hydra.run.dir={family}",
            "trainer.precision=float32",
            "callbacks=[default,outcomes,weights]",
        )
        done = train(*DRAWN, *options, cwd=directory)
        assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.slow
def test_a_run_beside_another(finished):
    done = run("explain.py", "run=resnet_v1", "against=plain", *FEW, "output=seen", cwd=finished)
    assert done.returncode == 0, done.stderr
    names = explain.names()
    assert {p.name for p in (finished / "seen").iterdir()} == {
        f"{n}.{end}" for n in names for end in ("png", "csv")
    }
    said = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert [name for name in said if name in names] == names
    events = EventAccumulator(str(finished / "resnet_v1" / "tensorboard" / "explanations")).Reload()
    assert set(events.Tags()["tensors"]) == {*names, *(f"{name}/seen" for name in names)}
    assert (finished / "resnet_v1" / "tensorboard" / "explanations" / "projector_config.pbtxt").is_file()


@pytest.mark.slow
def test_what_a_run_has_not_is_told_and_the_others_are_shown(finished):
    shutil.rmtree(finished / "plain" / "weights")
    (finished / "plain" / "mine").mkdir()
    with Image.open(finished / "plain" / "samples.png") as picture:
        picture.convert("RGB").save(finished / "plain" / "mine" / "a.jpg")
    wanted = "what=[trajectory,grad_cam]"
    done = run("explain.py", "run=plain", wanted, "images=plain/*/*.jpg", "output=one", cwd=finished)
    assert done.returncode == 1
    assert done.stderr.startswith("trajectory: plain: it kept the weights of 0 epochs")
    rows = list(csv.DictReader((finished / "one" / "grad_cam.csv").open()))
    assert {row["picture"] for row in rows} == {"plain/mine/a.jpg"}
    done = run("explain.py", "run=plain", *FEW, "output=others", cwd=finished)
    assert done.returncode == 0
    assert "trajectory: plain: it kept" in done.stderr
    assert not (finished / "others" / "trajectory.png").exists()


@pytest.mark.slow
def test_a_run_is_not_set_against_itself(finished):
    done = run("explain.py", "run=plain", "against=./plain", cwd=finished)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "against=plain: it is the run itself; give another"


@pytest.mark.slow
def test_fresh_weights_are_those_before_the_first_step(finished):
    assert fingerprint(fresh(finished / "plain")) == before(finished / "plain")


WHITENED = ["init=whitened", "model=resnet9", "model.filters=[8,8,8]", "model.stem_filters=24"]


def fresh(directory):
    run = RunDirectory(directory)
    return Subject.of_run(run, OmegaConf.create(run.config_text())).fresh()


def before(directory):
    return RunDirectory(directory).receipt()["weights_before"]


@pytest.mark.slow
@pytest.mark.parametrize("init", [WHITENED, ["init=run"]])
def test_they_are_those_that_the_run_began_with(init, tmp_path, monkeypatch):
    """Of a run that was there; they are refused where it is another by now, or gone."""
    monkeypatch.chdir(tmp_path)
    quick = (*TINY[:4], "~callbacks.pictures", "trainer.epochs=1", "trainer.precision=float32")
    base = (*quick, "model.depth=8", "hydra.run.dir=base")
    if init == ["init=run"]:
        init = [*init, "init.run=base", "model.depth=8"]
        assert train(*base, cwd=tmp_path).returncode == 0
    done = train(*quick, *init, "seed=1", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert fingerprint(fresh(tmp_path / "run")) == before(tmp_path / "run")
    if "init.run=base" in init:
        shutil.rmtree("base")
        with pytest.raises(UserError, match="before the first step are gone: init.run=base: there is no run"):
            fresh(tmp_path / "run")
        assert train(*base, "seed=2", cwd=tmp_path).returncode == 0
        with pytest.raises(UserError, match="not those of its receipt; init, or what it takes, has changed"):
            fresh(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["run is missing"]),
        (["run=nowhere"], ["run=nowhere", "there is no run"]),
        (["run=here", "against=nowhere"], ["nowhere", "there is no run"]),
        (["run=here", "what=leison"], ["what=leison", "did you mean lesion?"]),
        (["run=here", "count=0"], ["count=0", "greater than or equal to 1"]),
        (["run=here", "what=lesion", "lesion.draws=0"], ["lesion.draws=0"]),
        (["run=here", "lesion.drawz=1"], ["did you mean draws?"]),
    ],
)
def test_bad_arguments_end_in_two_lines(arguments, words, tmp_path):
    (tmp_path / "here" / ".hydra").mkdir(parents=True)
    (tmp_path / "here" / ".hydra" / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "here" / "model.keras").write_bytes(b"")
    done = run("explain.py", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
