from resnet.models.resnet import resnet_v1, resnet_v2

__all__ = ["resnet_v1", "resnet_v2"]
