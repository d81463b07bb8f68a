"""Residual networks for small images. Importing it registers the layers that saved models need."""

from resnet import backend, layers

__all__ = ["backend", "layers"]
