"""Residual networks for images.

`import resnet` costs no TensorFlow: what is named here is imported when it is first asked for (PEP 562).

    resnet.prepare(precision="auto")                 # threads, precision and seeds, before anything is built
    model = resnet.models.resnet_v1((32, 32, 3), 10, depth=20)
    trainer = resnet.fit(model, resnet.data.digits(), epochs=3)
    print(resnet.explain("lesion", {"mine": trainer}).sentence)
    network = resnet.load("outputs/2026-01-31/12-00-00-000000")     # of a finished run
"""

import os
from importlib import import_module

__version__ = "0.2.0"

os.environ["KERAS_BACKEND"] = "tensorflow"  # before anyone imports Keras; `resnet.backend` sees to the rest
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # of TensorFlow's own lines the errors alone

ROOMS = ("augmentation", "data", "init", "models", "report", "run", "training")
PLACES = {
    "explain": "resnet.explaining",
    "fit": "resnet.fitting",
    "load": "resnet.run.trained",
    "prepare": "resnet.training.environment",
    "Run": "resnet.run.run",
    "Trainer": "resnet.training.trainer",
}

__all__ = [*ROOMS, *PLACES]


def __getattr__(name):
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    if name in ROOMS:
        return import_module(f"resnet.{name}")
    raise AttributeError(f"module 'resnet' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
