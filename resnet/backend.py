"""Keras as this project needs it, whatever ~/.keras/keras.json and the environment say.

Raises UserError where Keras was imported for another backend before, or cannot read its file.
"""

import os
import sys

from resnet.errors import UserError

HOME = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")

try:
    import keras
except ValueError as error:
    raise UserError(f"Keras refuses {os.path.join(HOME, 'keras.json')}: {error}") from error
except ImportError:
    if "keras.src.backend.config" not in sys.modules:
        raise

other = sys.modules["keras.src.backend.config"].backend()
if other != "tensorflow":
    raise UserError(f"Keras was imported for {other}: import resnet first, or set KERAS_BACKEND=tensorflow")
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
