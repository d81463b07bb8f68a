from resnet.models.resnet import resnet_v1, resnet_v2
from resnet.models.stacking import stack, unstack

__all__ = ["resnet_v1", "resnet_v2", "stack", "unstack"]
