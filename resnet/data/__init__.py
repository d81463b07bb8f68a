from resnet.data.cifar import cifar10, cifar100
from resnet.data.cifar10_c import cifar10_c
from resnet.data.cinic10 import cinic10
from resnet.data.dataset import Dataset, Split, make_dataset, source
from resnet.data.digits import digits
from resnet.data.image_folder import image_folder
from resnet.data.imagenet import imagenet
from resnet.data.mnist import fashion_mnist, mnist
from resnet.data.normalization import Normalization
from resnet.data.npz import npz
from resnet.data.preprocessing import Preprocessing
from resnet.data.stl10 import stl10
from resnet.data.svhn import svhn
from resnet.data.synthetic import synthetic
from resnet.data.tfds import tfds
from resnet.data.tiny_imagenet import tiny_imagenet

__all__ = [
    "Dataset",
    "Normalization",
    "Preprocessing",
    "Split",
    "cifar10",
    "cifar100",
    "cifar10_c",
    "cinic10",
    "digits",
    "fashion_mnist",
    "image_folder",
    "imagenet",
    "make_dataset",
    "mnist",
    "npz",
    "source",
    "stl10",
    "svhn",
    "synthetic",
    "tfds",
    "tiny_imagenet",
]
