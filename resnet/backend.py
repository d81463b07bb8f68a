"""Keras as this project needs it, whatever ~/.keras/keras.json and the environment say.

Whoever imports it before keras and tensorflow has it so; where it is too late, or Keras cannot read its file,
UserError is raised.
"""

import os

from resnet.errors import UserError

REFUSED = "Keras does not run on TensorFlow (%s): set KERAS_BACKEND=tensorflow, or import resnet before Keras"

given = os.environ.get("KERAS_BACKEND", "tensorflow")
os.environ["KERAS_BACKEND"] = "tensorflow"
try:
    import keras
except ValueError as error:
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    raise UserError(f"Keras refuses {os.path.join(home, 'keras.json')}: {error}") from error
except ImportError as error:
    if given == "tensorflow":
        raise
    raise UserError(REFUSED % error) from error

if keras.config.backend() != "tensorflow":
    raise UserError(REFUSED % keras.config.backend())
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
