"""Gradient descent with momentum."""

from __future__ import annotations

from typing import Any

import keras

from resnet.options import with_options_of
from resnet.training.optimizers.lookahead import Lookahead


@keras.saving.register_keras_serializable("resnet")
class SGD(Lookahead, keras.optimizers.SGD):
    """`keras.optimizers.SGD`, with the options of `Lookahead`: else same arguments, variables and results."""

    @with_options_of(Lookahead)
    def __init__(
        self, learning_rate: float = 0.1, momentum: float = 0.9, nesterov: bool = False, **options: Any
    ):
        super().__init__(learning_rate, momentum=momentum, nesterov=nesterov, **options)
