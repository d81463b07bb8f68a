"""A finished network as files that run without this program: pictures in, names and probabilities out."""

from resnet.export.formats import FORMATS, check
from resnet.export.shipping import export

__all__ = ["FORMATS", "check", "export"]
