import numpy as np
import pytest

from resnet.models import plain, resnet_v1, stack, unstack
from resnet.models.cutting import cut
from resnet.report.explain import lesion
from tests.explanations import dataset, subject

IMAGES = dataset(60).test.images


def floats(images):
    return images.astype(np.float32) / 255


def without(model, block):
    """The model whose `block` adds nothing: the last scale and shift of its branch are 0."""
    weights = unstack(model)
    for part in ("gamma", "beta"):
        weights[f"{block}_bn2/{part}"] = np.zeros_like(weights[f"{block}_bn2/{part}"])
    other = resnet_v1((16, 16, 3), 3, 20, bn_momentum=0.0)
    stack(other, weights)
    return other


def spread_out(model):
    """As after a training: moving statistics are the images' own, and all classes are predicted."""
    model(floats(IMAGES), training=True)
    model.get_layer("logits").bias.assign(-np.mean(model(floats(IMAGES), training=False), 0))
    return model


def predicted(model):
    return np.argmax(model(floats(IMAGES), training=False), 1)


def test_accuracy_without_a_block_is_that_of_a_network_whose_block_adds_nothing():
    model = spread_out(resnet_v1((16, 16, 3), 3, 20, bn_momentum=0.0))
    blocks = cut(model)
    plans = lesion.plans_of(blocks, 2, seed=0)["removed"]
    alike = [(blocks[i].name, plan) for plan in plans for i in plan.removed if blocks[i].keeps_shape]
    whole = predicted(model)
    found = lesion.accuracies(blocks, [plan for _, plan in alike], floats, IMAGES, whole)
    expected = [np.mean(predicted(without(model, name)) == whole) for name, _ in alike]
    assert len(alike) == 7
    assert len(set(expected)) > 1  # or anything would do
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_removing_blocks_that_are_identities_changes_nothing():
    model = spread_out(resnet_v1((16, 16, 3), 3, 20, bn_momentum=0.0))
    for name in [b.name for b in cut(model) if b.numbered and b.keeps_shape]:
        model = without(model, name)
    blocks = cut(model)
    plans = lesion.plans_of(blocks, 3, seed=1)
    several = [
        p for p in plans["removed"] + plans["several"] if all(blocks[i].keeps_shape for i in p.removed)
    ]
    found = lesion.accuracies(blocks, [*several, *plans["swapped"]], floats, IMAGES, predicted(model))
    np.testing.assert_allclose(found, 1.0)
    assert len(found) > 20


@pytest.mark.slow
def test_looped_and_unrolled_networks_have_the_same_lesions():
    looped = spread_out(resnet_v1((16, 16, 3), 3, 20, bn_momentum=0.0))
    unrolled = resnet_v1((16, 16, 3), 3, 20, stage="unrolled", bn_momentum=0.0)
    stack(unrolled, unstack(looped))
    a, b = (lesion.explain([subject(model)], dataset(60)).rows for model in (looped, unrolled))
    assert a == [row | {"accuracy": pytest.approx(row["accuracy"], abs=1 / 60)} for row in b]


def test_numbers_and_orders_of_lesions():
    blocks = cut(plain((16, 16, 3), 3, 20))
    plans = lesion.plans_of(blocks, 4, seed=0)
    fixed = {"stage2_block1", "stage3_block1"}  # which change the shape
    removed = [plan.names(blocks) for kind in ("removed", "several") for plan in plans[kind]]
    assert {name for names in removed for name in names}.isdisjoint(fixed)
    assert sorted({len(names) for names in removed}) == [1, 2, 3, 4, 5, 6, 7]
    assert all(len(plan.names(blocks)) == plan.count for plan in plans["several"])
    for plan in plans["swapped"]:
        for i, j in enumerate(plan.order):
            assert blocks[i].shape == blocks[j].shape
        inversions = sum(a > b for i, a in enumerate(plan.order) for b in plan.order[i + 1 :])
        pairs = len(plan.order) * (len(plan.order) - 1) / 2
        assert plan.kendall_tau == pytest.approx(1 - 2 * inversions / pairs)
