import pytest

from resnet.models import convnext, densenet_imagenet, resnet_imagenet, resnet_v1, vgg
from resnet.models.cost import matrix_product, multiply_adds, training_flops
from resnet.training.distribution import single

SHAPE = (224, 224, 3)


@pytest.mark.parametrize(
    ("family", "options", "billions"),
    [
        (resnet_imagenet, {"depth": 18}, 1.81),
        (resnet_imagenet, {"depth": 50}, 4.09),
        (resnet_imagenet, {"depth": 101}, 7.80),
        (resnet_imagenet, {"depth": 50, "cardinality": 32, "group_width": 4}, 4.23),
        (vgg, {"depth": 16, "head": "imagenet", "norm": "none"}, 15.47),
        (densenet_imagenet, {"depth": 121}, 2.83),
        (convnext, {"size": "tiny"}, 4.46),
    ],
)
def test_multiply_adds_are_those_torchvision_publishes(family, options, billions):
    assert round(multiply_adds(family(SHAPE, 1000, **options)) / 1e9, 2) == billions


def test_a_looped_stage_counts_as_often_as_it_is_run():
    looped, unrolled = (resnet_v1((32, 32, 3), 10, depth=32, stage=stage) for stage in ("looped", "unrolled"))
    assert training_flops(looped) == training_flops(unrolled) == 6 * multiply_adds(unrolled)


def test_products_of_two_replicas_on_the_same_cores_are_as_fast_as_those_of_one(two_replicas):
    one, two = (matrix_product("float32", strategy) for strategy in (single(), two_replicas))
    assert 1e8 < one < 1e14
    assert 0.2 < two / one < 5
