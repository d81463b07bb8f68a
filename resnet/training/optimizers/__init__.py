"""Optimizers: those of Keras with the options of `Shared`, and what Keras lacks."""

from resnet.training.optimizers.adam import Adam, AdamW
from resnet.training.optimizers.muon import Muon
from resnet.training.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Muon"]
