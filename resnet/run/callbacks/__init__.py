"""What a run leaves behind while it trains, and what may stop it: Keras callbacks, one module each."""

import keras

from resnet.run.callbacks.base import Callback
from resnet.run.callbacks.checkpoints import Checkpoints
from resnet.run.callbacks.csv import MetricsCsv
from resnet.run.callbacks.histograms import Histograms
from resnet.run.callbacks.logger import Logger
from resnet.run.callbacks.mlflow import MLflow
from resnet.run.callbacks.outcomes import Outcomes
from resnet.run.callbacks.pictures import Pictures
from resnet.run.callbacks.profile import Profile
from resnet.run.callbacks.progress import Progress
from resnet.run.callbacks.range_test import RangeTest
from resnet.run.callbacks.receipt import Receipt
from resnet.run.callbacks.tensorboard import TensorBoard
from resnet.run.callbacks.wandb import Wandb
from resnet.run.callbacks.weights import Weights

__all__ = [
    "Callback",
    "Checkpoints",
    "Histograms",
    "Logger",
    "MLflow",
    "MetricsCsv",
    "Outcomes",
    "Pictures",
    "Profile",
    "Progress",
    "RangeTest",
    "Receipt",
    "TensorBoard",
    "Weights",
    "Wandb",
    "default",
]


def default(recorded: bool = True) -> dict[str, keras.callbacks.Callback]:
    """What every run has, by name, as in `callbacks=default`; a training that is none, the progress alone."""
    progress = {"progress": Progress()}
    if not recorded:
        return progress
    return {
        "checkpoints": Checkpoints(),
        "receipt": Receipt(),
        "pictures": Pictures(),
        "tensorboard": TensorBoard(),
        "csv": MetricsCsv(),
        **progress,
    }
