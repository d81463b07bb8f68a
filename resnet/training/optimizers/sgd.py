"""Gradient descent with momentum."""

import keras

from resnet.options import with_options_of
from resnet.training.optimizers.shared import Shared


@keras.saving.register_keras_serializable("resnet")
class SGD(Shared, keras.optimizers.SGD):
    """`keras.optimizers.SGD`, with the options of `Shared`: else same arguments, variables and results."""

    @with_options_of(Shared)
    def __init__(self, learning_rate=0.1, momentum=0.9, nesterov=False, **options):
        super().__init__(learning_rate, momentum=momentum, nesterov=nesterov, **options)
