"""What every program imports, for processes that fork from one that has it."""

from resnet.cli.command import import_keras

import_keras()

import resnet.cli.assembly  # noqa: E402, F401
import resnet.fitting  # noqa: E402, F401
from resnet.report import figures, pictures  # noqa: E402, F401

figures.png(figures.curves([{"epoch": 1, "train/loss": 1.0, "rate/learning_rate": 0.1}]))  # fonts
