from resnet.data.cifar import cifar10
from resnet.data.dataset import Dataset, Normalization, Split
from resnet.data.digits import digits

__all__ = ["Dataset", "Normalization", "Split", "cifar10", "digits"]
