from resnet import backend  # noqa: F401  before anything is built
from resnet.models.imagenet import plain_imagenet, resnet_imagenet
from resnet.models.resnet import plain, resnet_v1, resnet_v2
from resnet.models.stacking import stack, unstack
from resnet.models.summary import summary
from resnet.models.vgg import vgg

__all__ = [
    "plain",
    "plain_imagenet",
    "resnet_imagenet",
    "resnet_v1",
    "resnet_v2",
    "stack",
    "summary",
    "unstack",
    "vgg",
]
