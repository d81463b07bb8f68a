"""Optimizers: those of Keras with the options of `Shared` and `Lookahead`, and what Keras lacks."""

from resnet.training.optimizers.adam import Adam, AdamW
from resnet.training.optimizers.layerwise import LARS, Lamb
from resnet.training.optimizers.lion import Lion
from resnet.training.optimizers.muon import Muon
from resnet.training.optimizers.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from resnet.training.optimizers.sgd import SGD

__all__ = ["LARS", "SGD", "Adam", "AdamW", "Lamb", "Lion", "Muon", "ScheduleFreeAdamW", "ScheduleFreeSGD"]
