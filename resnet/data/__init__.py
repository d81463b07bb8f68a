from resnet.data.cifar import cifar10, cifar100
from resnet.data.dataset import Dataset, Split
from resnet.data.digits import digits
from resnet.data.image_folder import image_folder
from resnet.data.normalization import Normalization
from resnet.data.npz import npz
from resnet.data.preprocessing import Preprocessing
from resnet.data.synthetic import synthetic

__all__ = [
    "Dataset",
    "Normalization",
    "Preprocessing",
    "Split",
    "cifar10",
    "cifar100",
    "digits",
    "image_folder",
    "npz",
    "synthetic",
]
