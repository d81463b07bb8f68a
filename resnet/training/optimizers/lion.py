"""Steps of one size, along the signs of a momentum."""

from __future__ import annotations

from typing import Any

import keras

from resnet.options import with_options_of
from resnet.training.optimizers.lookahead import Lookahead


@keras.saving.register_keras_serializable("resnet")
class Lion(Lookahead, keras.optimizers.Lion):
    """`keras.optimizers.Lion` (Chen et al. 2023), with the options of `Lookahead`.

    Its rate is a third to a tenth of AdamW's and its decay as many times larger (section 5 there).
    """

    @with_options_of(Lookahead, weight_decay=0.04)
    def __init__(
        self, learning_rate: float = 2e-4, beta_1: float = 0.9, beta_2: float = 0.99, **options: Any
    ):
        super().__init__(learning_rate, beta_1=beta_1, beta_2=beta_2, **options)
