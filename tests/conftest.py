import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf
from hypothesis import settings

from resnet.training.distribution import mirrored

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

# The suite runs few examples, always the same; `make fuzz` many, always others.
settings.register_profile("suite", max_examples=25, derandomize=True, deadline=None, database=None)
settings.register_profile("fuzz", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def two_replicas():
    return mirrored(["CPU:0", "CPU:1"])
