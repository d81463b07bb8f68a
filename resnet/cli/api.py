"""The page of what can be used from Python: `python -m resnet.cli.api > api.md`.

It only names what there is, for mkdocstrings to show by signature and docstring.
"""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import isclass, isfunction
from types import ModuleType

import resnet

ROOMS = (
    "data",
    "models",
    "augmentation",
    "init",
    "training.freezing",
    "training.schedules",
    "training.losses",
    "training.metrics",
    "training.optimizers",
    "run.callbacks",
)
INTRODUCTION = """# Python API

Each part can be used without Hydra. `import resnet` costs no TensorFlow: its names are imported when they are
first asked for.

```python
import resnet

resnet.prepare(precision="auto")  # threads, precision and seeds, before anything is built
model = resnet.models.resnet_v1((32, 32, 3), 10, depth=20)
trainer = resnet.fit(model, resnet.data.digits(), epochs=3)
with resnet.Run("outputs/mine") as run:  # recorded, and gone on with
    resnet.fit(model, resnet.data.digits(), epochs=3, run=run)
network = resnet.load("outputs/mine")
```"""


def page() -> str:
    """The page, Markdown with a `:::` for each object. It imports TensorFlow."""
    parts = [INTRODUCTION, "## resnet", *(_shown(getattr(resnet, name)) for name in resnet.PLACES)]
    for room in ROOMS:
        module = import_module(f"resnet.{room}")
        parts += [f"## resnet.{room}", *(_shown(getattr(module, name)) for name in _names(module))]
    return "\n\n".join(parts) + "\n"


def _names(module: ModuleType) -> list[str]:
    """What a module gives: what it says, or else its own public classes and functions."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    found = {name: value for name, value in vars(module).items() if isclass(value) or isfunction(value)}
    return [n for n, v in found.items() if v.__module__ == module.__name__ and not n.startswith("_")]


def _shown(found):
    return f"::: {found.__module__}.{found.__qualname__}"


if __name__ == "__main__":
    from resnet.cli.command import import_keras

    import_keras()
    sys.stdout.write(page())
