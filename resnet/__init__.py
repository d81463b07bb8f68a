"""Residual networks for small images.

`import resnet` costs no TensorFlow: what is named here is imported when it is first asked for
(`resnet.models.resnet_v1`, PEP 562). `resnet.load(directory)` gives the network that a run left there. For
`keras.models.load_model`, `import resnet.layers` first: that registers the layers of saved models.
"""

from importlib import import_module

MODULES = ("augmentation", "data", "evaluation", "layers", "models", "optimizers", "schedules", "trainer")
FUNCTIONS = {"load": "resnet.trained"}

__all__ = [*MODULES, *FUNCTIONS]


def __getattr__(name):
    if name in FUNCTIONS:
        return getattr(import_module(FUNCTIONS[name]), name)
    if name in MODULES:
        return import_module(f"resnet.{name}")
    raise AttributeError(f"module 'resnet' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
