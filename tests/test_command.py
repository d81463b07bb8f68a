"""What a shell hands over reaches the program as it is, and a run goes on from the line that it prints."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import resnet
from resnet.cli.arguments import name_in, parse, unparse, with_names
from resnet.cli.command import read
from resnet.errors import ConfigError
from resnet.process import resume_command
from resnet.run.changes import changes, schedule_warning, told
from tests.entry_point import ROOT, TINY, result, run, train

STEPS = (*TINY, "trainer.max_steps=3")
# What a file can be called: anything but NUL, an undecodable byte as a surrogate among it.
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.just("\udcff")
names = st.text(characters, min_size=1)
odd = ["my photos", "é=1", "a,b", "[1]", "{a: 1}", "1e3", "null", "true", "it's", "'", '"', "$0_$10", "???"]
odd += [
    "${",
    "a${b",
    "\\${x",
    "photos (1)",
    "choice(a,b)",
    "\\",
    "a\\'",
    "C:\\new\\'x'",
    "x~",
    " ",
    "a\nb",
    "#",
]


def hydra_reads(override):
    """What the key of `override` then holds."""
    parsed = OverridesParser.create().parse_override(override)
    config = OmegaConf.create({"value": None})
    OmegaConf.update(config, "value", parsed.value())
    return OmegaConf.to_container(config, resolve=True)["value"]


def jobs(override):
    """What the key of `override` holds in each job of a sweep."""
    parsed = OverridesParser.create().parse_override(override)
    values = parsed.sweep_string_iterator() if parsed.is_sweep_override() else [override.partition("=")[2]]
    return [hydra_reads(f"key={value}") for value in values]


def is_a_name(text):
    """Whether `text` is a name and no more: no quotes around it, no home, no interpolation."""
    quotes = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return not (quotes or text[0] == "~" or "${" in text and "}" in text)


def examples(test):
    for name in odd:
        test = example(name)(test)
    return test


@examples
@given(names.filter(is_a_name))
def test_a_path_is_what_it_is_called(name):
    expected = "./???" if name == "???" else name
    for key in ("data.dir", "+data.file", "data.shards", "loss.teacher", "run", "output", "hydra.run.dir"):
        read_as = with_names(f"{key}={name}")
        assert hydra_reads(read_as) == expected
        assert with_names(read_as) == read_as
    assert name_in(f"resume={name}") == name


@given(names.filter(is_a_name))
def test_a_glob_is_one_too_where_it_is_no_list(name):
    if not (name.startswith("[") and name.endswith("]")):
        assert hydra_reads(with_names(f"images={name}")) == ("./???" if name == "???" else name)


plain = names.filter(lambda name: is_a_name(name) and name.strip() == name and not {*name} & {*",[]"})


@given(st.lists(plain.filter(lambda name: name != "???" and name[0] not in "'\""), min_size=1))
def test_lists_and_sweeps_hold_names(several):
    text = ",".join(several)
    assert hydra_reads(with_names(f"images=[{text}]")) == several
    assert jobs(with_names(f"data.dir={text}", multirun=True)) == several
    assert hydra_reads(with_names(f"data.dir={text}")) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.booleans())
def test_what_is_no_path_is_left_alone(value, multirun):
    for key in ("model.depth", "data", "seed", "trainer.profile", "~data.dir"):
        assert with_names(f"{key}={value}", multirun) == f"{key}={value}"


@pytest.mark.parametrize(
    ("override", "multirun", "expected"),
    [
        ("data.dir='a b'", False, "a b"),
        ('data.dir="~"', False, "~"),
        ("data.dir=~/photos", False, os.path.expanduser("~/photos")),
        ("images=[~/a.png, 'b,c.png',é.png]", False, [os.path.expanduser("~/a.png"), "b,c.png", "é.png"]),
        ("images=[1e3,null]", False, ["1e3", "null"]),
        ("images=[]", False, []),
        ("images=[ab]*[cd]", False, "[ab]*[cd]"),
        ("images=[a[1].png,b[cd]*]", False, ["a[1].png", "b[cd]*"]),
        ("images=1e3", False, "1e3"),
        ("data.dir=${oc.env:HOME,x}/é", False, os.environ.get("HOME", "x") + "/é"),
        ("data.dir=a b,c=d", True, ["a b", "c=d"]),
        ("data.dir='a,b'", True, ["a,b"]),
        ("data.dir=choice(a,b)", True, ["a", "b"]),
        ("data.dir=photos (1),b", True, ["photos (1)", "b"]),
        ("data.dir=${oc.env:HOME,x}/a,b", True, [os.environ.get("HOME", "x") + "/a", "b"]),
        ("hydra.sweep.dir=a,b", True, ["a,b"]),
    ],
)
def test_hydras_own_syntax_still_counts(override, multirun, expected):
    found = with_names(override, multirun)
    assert (jobs(found) if multirun else hydra_reads(found)) == expected


def test_flags_stand_anywhere():
    given_so = parse(["seed=1", "-cd", "mine", "model.depth=8", "--cfg", "job"])
    assert unparse(given_so) == ["--cfg=job", "--config-dir=mine", "seed=1", "model.depth=8"]
    assert parse(unparse(given_so)) == given_so


def write_record(directory, cwd, sweep=False, config_dir=None, name="config", task=("seed=1",), hydra=()):
    """A run's, or a sweep's, record as Hydra writes it."""
    sources = [{"path": "hydra.conf", "schema": "pkg", "provider": "hydra"}]
    sources += [{"path": str(ROOT / "conf"), "schema": "file", "provider": "main"}]
    if config_dir:
        sources.append({"path": str(config_dir), "schema": "file", "provider": "command-line"})
    tree = {
        "job": {"config_name": name},
        "runtime": {"cwd": str(cwd), "config_sources": sources},
        "overrides": {"task": list(task), "hydra": list(hydra)},
    }
    path = directory / "multirun.yaml" if sweep else directory / ".hydra" / "hydra.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump({"hydra": tree}, allow_unicode=True), "utf-8")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(where a run began, where it goes on), the working directory."""
    began, here = tmp_path / "began", tmp_path / "hère"
    began.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    return began, here


def place(directory, key="hydra.run.dir"):
    return with_names(f"{key}={directory}")


def test_a_run_is_resumed_with_its_flags_and_other_flags(places):
    began, _ = places
    mode = ["hydra.mode=RUN", "hydra.run.dir=run", "hydra.verbose=true"]
    write_record(began / "run", began, config_dir=began / "mine", name="own", hydra=mode)
    flags = ["--config-name=own", f"--config-dir={began / 'mine'}"]
    whole = [*flags, "seed=1", "hydra.verbose=true", place(began / "run")]
    assert read(["resume=../began/run"]) == whole
    assert Path.cwd() == began
    assert read(["resume=run", "-m"]) == whole
    assert read(["resume=run", "--cfg", "job"]) == ["--cfg=job", *whole]
    assert read(["-cn", "other", "resume=run", "seed=2"])[0] == "--config-name=other"
    assert read(["resume=run", "seed=2"])[2:] == ["hydra.verbose=true", "seed=2", place(began / "run")]


def test_relative_paths_of_the_line_itself_are_relative_to_where_it_is_given(places):
    began, here = places
    write_record(began / "run", began, task=["data.dir=photos"])
    found = read(["resume=../began/run", "-cd", "mine", "data.dir=other", "changes=allow"])
    assert f"--config-dir={here / 'mine'}" in found
    assert found[-3:] == [with_names(f"data.dir={here / 'other'}"), "changes=allow", place(began / "run")]


def test_a_sweep_is_resumed_with_a_flag_or_without(places):
    began, _ = places
    hydra = ["hydra.sweep.dir=sweep", "hydra.mode=MULTIRUN", "hydra/launcher=joblib"]
    write_record(began / "sweep", began, sweep=True, task=["seed=1,2"], hydra=hydra)
    whole = ["--multirun", "--config-name=config", "seed=1,2", "hydra/launcher=joblib"]
    whole.append(place(began / "sweep", "hydra.sweep.dir"))
    assert read(["resume=../began/sweep"]) == whole
    assert read(["-m", "resume=sweep"]) == whole
    assert read(["resume=sweep", "data.dir=a b,c"])[-2] == "data.dir='a b','c'"
    assert read(["--cfg", "hydra", "resume=sweep"])[0] == "--cfg=hydra"


def test_a_place_that_is_gone_is_told(places, capsys):
    began, here = places
    write_record(began / "run", here / "gone")
    read(["resume=../began/run"])
    assert f"{here / 'gone'}, which is gone" in capsys.readouterr().err
    assert Path.cwd() == here


@pytest.mark.parametrize("argument", ["outputs/run", "demo"])
def test_an_argument_that_sets_nothing(argument):
    with pytest.raises(ConfigError, match=f"{argument}: expected KEY=VALUE"):
        read([argument, "seed=1"])


def test_no_run_to_resume(places):
    with pytest.raises(ConfigError, match="there is no run to go on with"):
        read(["resume=nowhere"])


@pytest.mark.parametrize("name", [name for name in odd if "/" not in name])
def test_the_line_to_go_on_with_is_one_that_a_shell_can_run(name, places):
    began, here = places
    directory = began / name
    write_record(directory, here)
    program, script, *arguments = shlex.split(resume_command(directory))
    assert (program, script) == (sys.executable, str(ROOT / "train.py"))
    assert hydra_reads(read(arguments)[-1]) == str(directory)


def test_changes_of_a_configuration_fit_a_line():
    before, after = ({f"k{i}": i * by for i in range(1, 13)} for by in (1, 2))
    found = changes(yaml.safe_dump(before | {"same": 1}), yaml.safe_dump(after | {"same": 1, "k13": None}))
    assert found[:2] == ["k1=2, it was 1", "k10=20, it was 10"] and len(found) == 13
    assert told(found).startswith("k1=2, it was 1; k10") and told(found).endswith("; and 5 more")
    assert told(found[:2]) == "k1=2, it was 1; k10=20, it was 10"


def schedule(epochs, of="${trainer.epochs}"):
    return f"trainer: {{epochs: {epochs}}}\nschedule: {{_target_: resnet.schedules.Cosine, epochs: '{of}'}}\n"


def test_a_schedule_that_follows_the_epochs_is_told_of():
    assert schedule_warning(schedule(3), schedule(3)) is None
    assert schedule_warning(schedule(3, of=9), schedule(5, of=9)) is None
    warning = schedule_warning(schedule(3), schedule(5))
    assert "schedule.epochs=5, it was 3" in warning
    assert len(warning.splitlines()) == 1


@pytest.mark.slow
def test_odd_paths_from_training_to_prediction(tmp_path):
    """A folder of pictures, a file, a run, in places that Hydra's grammar has no words for."""
    from tests.test_conf import write_pictures

    photos = tmp_path / "mes photos, é=1 [x]"
    photos.mkdir()
    write_pictures(photos)
    directory = "run 1,2 = é"
    own = ("data=image_folder", f"data.dir={photos.name}", "data.train_size=100", "data.image_size=8")
    small = ("model.depth=8", "trainer.max_steps=1", f"hydra.run.dir={directory}")
    done = train(*own, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "1e3").write_bytes(next(photos.rglob("*.png")).read_bytes())
    for images in ("1e3", "[1e3]", "?e3"):
        said = run("predict.py", f"run={directory}", f"images={images}", cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        assert said.stdout.startswith("1e3  class")
    said = run("evaluate.py", f"run={directory}", "output=my scores", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "my scores" / "evaluation.json").is_file()


@pytest.mark.slow
def test_a_run_with_a_config_directory_goes_on_from_elsewhere(tmp_path):
    """By the line that `resume_command` gives, in a shell, with options after it."""
    model = (ROOT / "conf" / "model" / "resnet_v1.yaml").read_text("utf-8")
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text(model, "utf-8")
    begin = ("--config-dir", "mine", *STEPS, "model=own", "hydra.run.dir=my run")
    assert train(*begin, cwd=tmp_path).returncode == 0
    (tmp_path / "elsewhere").mkdir()
    line = f"{resume_command(tmp_path / 'my run')} trainer.max_steps=5 changes=allow"
    done = subprocess.run(line, shell=True, cwd=tmp_path / "elsewhere", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on after step 3" in done.stdout
    assert result(tmp_path / "my run")["steps"] == 5


@pytest.mark.slow
def test_help_fits_a_screen_and_names_what_there_is(tmp_path):
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("_target_: mine.net\n")
    shown = run("train.py", "--config-dir", "conf", "--help", cwd=tmp_path).stdout
    lines = shown.strip().splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) <= 110
    words = {word.strip(",:") for word in shown.split()}
    groups = [
        path for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name not in ("hydra", "paper")
    ]
    options = {path.stem for group in groups for path in group.glob("[!_]*.yaml")}
    assert options | {group.name for group in groups} | {"mine"} <= words
    assert not [word for word in words if word.startswith("_")]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config")
    keys = [line.split("=")[0] for line in lines[lines.index("Keys that are set most (key=value)") + 1 :][:6]]
    for key in keys:
        node, _, name = key.rpartition(".")
        assert name in (OmegaConf.select(config, node) if node else config)


def test_version_is_the_projects(tmp_path):
    shown = run("train.py", "--version", cwd=tmp_path).stdout
    assert shown.startswith(f"resnet {resnet.__version__} (python ")


@pytest.mark.slow
def test_an_experiment_says_nothing_of_options_that_it_is_run_without(tmp_path):
    others = ("experiment=demo", "schedule=constant", "augmentation=none", *STEPS, "trainer.epochs=1")
    done = train(*others, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "run" / "train.log").read_text("utf-8")
    assert "schedule=constant has no boundaries, factors: left out of experiment=demo" in said
    assert "augmentation=none has no flip: left out of experiment=demo" in said
    config = yaml.safe_load((tmp_path / "run" / ".hydra" / "config.yaml").read_text("utf-8"))
    assert config["schedule"] == {"_target_": "resnet.training.schedules.Constant"}
    done = train(*others, "schedule.factors=[0.1]", "hydra.run.dir=other", cwd=tmp_path)
    assert done.returncode == 1
    assert "Constant" in done.stderr
