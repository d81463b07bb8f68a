"""Augmentation of whole batches inside the graph, keyed by a stateless seed: equal seeds, equal pictures."""

from resnet.augmentation.colour import colour_jitter, pca_lighting
from resnet.augmentation.crop import random_resized_crop
from resnet.augmentation.generator import image_data_generator
from resnet.augmentation.mixing import cutmix, cutout, mixup
from resnet.augmentation.operations import randaugment
from resnet.augmentation.shift import alternating_flip, crop_flip, shift_flip
from resnet.augmentation.transform import Batch, Transform, in_order, none, one_of

__all__ = [
    "Batch",
    "Transform",
    "alternating_flip",
    "colour_jitter",
    "crop_flip",
    "cutmix",
    "cutout",
    "image_data_generator",
    "in_order",
    "mixup",
    "none",
    "one_of",
    "pca_lighting",
    "randaugment",
    "random_resized_crop",
    "shift_flip",
]
