from resnet import backend  # noqa: F401  before anything is built
from resnet.models.convnext import convnext
from resnet.models.densenet import densenet, densenet_imagenet
from resnet.models.highway import highway
from resnet.models.imagenet import plain_imagenet, resnet_imagenet
from resnet.models.resnet import plain, resnet_v1, resnet_v2
from resnet.models.resnet9 import resnet9
from resnet.models.resnext import resnext
from resnet.models.revnet import revnet
from resnet.models.stacking import stack, unstack
from resnet.models.summary import summary
from resnet.models.vgg import vgg
from resnet.models.wide import wide_resnet

__all__ = [
    "convnext",
    "densenet",
    "densenet_imagenet",
    "highway",
    "plain",
    "plain_imagenet",
    "resnet9",
    "resnet_imagenet",
    "resnet_v1",
    "resnet_v2",
    "resnext",
    "revnet",
    "stack",
    "summary",
    "unstack",
    "vgg",
    "wide_resnet",
]
