"""TensorBoard's messages and its writer of records.

Published is only `tf.summary`, whose writer is a thread that says nothing of a full disk, and which cannot
write a picture that is a PNG already.
"""

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
from tensorboard.plugins.hparams.summary import session_end_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.image.metadata import create_summary_metadata as create_image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

__all__ = [
    "STATUS_SUCCESS",
    "Event",
    "RecordWriter",
    "SessionLog",
    "Summary",
    "create_image_metadata",
    "histogram_pb",
    "hparams_pb",
    "make_tensor_proto",
    "scalar_pb",
    "session_end_pb",
    "text_pb",
]
