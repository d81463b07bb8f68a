"""A network as one function of pictures, with its weights in it."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from resnet.models.stacking import written_out
from resnet.run.trained import Trained


class Serving:
    """What is exported of a Trained: in float32, loops written out, any number of pictures at a time.

    `function` maps uint8 `images` `(N, H, W, C)` to the K `class_names` and to `probabilities` float32
    `(N, K)`; `probabilities` gives the latter alone. Weights are constants in both, so that no format has to
    keep variables.
    """

    def __init__(self, network: Trained) -> None:
        self.class_names, self.image_shape = network.class_names, network.image_shape
        self.model, self.preprocessing = written_out(network.model), network.preprocessing
        weights = [np.array(variable) for variable in self.model.variables]
        signature = [tf.TensorSpec([None, *self.image_shape], tf.uint8, name="images")]

        def probabilities(images):
            constants = zip(self.model.variables, map(tf.constant, weights), strict=True)
            with keras.StatelessScope(list(constants)):
                logits = self.model(self.preprocessing.inference(images), training=False)
            return tf.nn.softmax(logits)

        @tf.function(input_signature=signature, autograph=False)
        def both(images):
            return {"class_names": tf.constant(self.class_names), "probabilities": probabilities(images)}

        @tf.function(input_signature=signature, autograph=False)
        def one(images):
            return {"probabilities": probabilities(images)}

        self.function, self.probabilities = both, one
