"""Residual networks for small images. Importing it registers the layers that saved models need."""

from resnet import layers

__all__ = ["layers"]
