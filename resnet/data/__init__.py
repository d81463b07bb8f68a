from resnet.data.cifar import cifar10
from resnet.data.dataset import Dataset, Split
from resnet.data.digits import digits
from resnet.data.normalization import Normalization

__all__ = ["Dataset", "Normalization", "Split", "cifar10", "digits"]
