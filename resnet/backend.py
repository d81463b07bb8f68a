"""Keras as this project needs it, whatever ~/.keras/keras.json and the environment say; import it first.

Raises UserError where that cannot be had.
"""

import os

from resnet.errors import UserError

os.environ["KERAS_BACKEND"] = "tensorflow"
try:
    import keras
except ValueError as error:
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    raise UserError(f"Keras refuses {os.path.join(home, 'keras.json')}: {error}") from error

if (other := keras.config.backend()) != "tensorflow":
    raise UserError(f"Keras runs on {other}: import resnet before keras, or set KERAS_BACKEND=tensorflow")
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
