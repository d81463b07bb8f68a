"""The package as it is imported and as it is installed."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.entry_point import ROOT


def python(code, cwd=ROOT, executable=sys.executable):
    return subprocess.run(
        [executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    ).stdout


def test_importing_it_costs_no_tensorflow():
    loaded = python("import sys, resnet, resnet.cli.check, resnet.cli.command; print(*sys.modules)").split()
    assert "resnet" in loaded
    assert not {"tensorflow", "keras"} & set(loaded)


def test_the_first_step_waits_for_no_library_that_it_does_not_need():
    start = "from resnet.cli.command import import_keras; import_keras()"
    parts = "resnet.cli.assembly, resnet.fitting, resnet.models.resnet"
    loaded = python(f"import sys; {start}; import {parts}; print(*sys.modules)").split()
    assert "resnet.models.blocks" in loaded
    assert not {"matplotlib", "sklearn", "scipy.stats"} & set(loaded)


def test_what_it_names_is_imported_when_asked_for():
    code = "import resnet; print(resnet.models.resnet_v1.__name__, resnet.load.__module__); resnet.nope"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["resnet_v1", "resnet.run.trained"]
    assert "module 'resnet' has no attribute 'nope'" in done.stderr


@pytest.mark.slow
def test_installed_it_trains_from_anywhere(tmp_path):
    """From a wheel, with no source tree beside it."""
    source, environment = tmp_path / "source", tmp_path / "environment"
    left_out = shutil.ignore_patterns(".git", ".venv", "outputs", "multirun", "data", "*.egg-info", "build")
    shutil.copytree(
        ROOT, source, ignore=lambda folder, names: left_out(folder, names) if folder == str(ROOT) else []
    )
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    site = Path(
        python("import sysconfig; print(sysconfig.get_path('purelib'))", tmp_path, scripts / "python").strip()
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip = [scripts / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", source]
    subprocess.run(pip, check=True)
    shutil.rmtree(source)

    small = [
        "data=digits",
        "data.train_size=100",
        "data.test_size=50",
        "model.depth=8",
        "trainer.max_steps=2",
    ]
    sweep = ["-m", "hydra/callbacks=comparison", "augmentation=none,shift_flip", "hydra.sweep.dir=sweep"]
    command = [scripts / "resnet-train", *sweep, *small]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweep" / "1" / "model.keras").exists()
    assert (tmp_path / "sweep" / "comparison.md").exists()


def public(tree, inside=""):
    """Functions of a module, and methods of its classes, that others may call."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            yield f"{inside}{node.name}", node


@pytest.mark.parametrize("path", sorted((ROOT / "resnet").rglob("*.py")), ids=lambda path: path.stem)
def test_public_functions_say_their_types(path):
    for name, function in public(ast.parse(path.read_text("utf-8"))):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        assert not untyped, (name, untyped)
        assert function.returns is not None or name.endswith("__init__"), name
