"""Where a network begins: from random weights, a finished run, keras.applications, PyTorch or its pictures.

What each of these returns is called with a model and the Dataset that it is to train on. It gives the model
its weights, and returns the Normalization that these are for.
"""

from resnet.init.published import imagenet, torch
from resnet.init.run import run
from resnet.init.whitened import whitened


def none() -> None:
    """Random weights, and the data's own normalization."""


__all__ = ["imagenet", "none", "run", "torch", "whitened"]
