"""A network cut into blocks is the network, whichever form its stages have."""

import keras
import numpy as np
import pytest

from resnet.errors import UserError
from resnet.models import cutting, plain, resnet_imagenet, resnet_v1, resnet_v2, stack, unstack, vgg
from resnet.models.cutting import cut, numbered, run

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(6, 16, 16, 3)).astype(np.float32)
FAMILIES = [
    (resnet_v1, 20, {}),
    (resnet_v1, 20, {"shortcut": "identity", "survival": 0.5}),
    (resnet_v2, 29, {"shortcut": "projection_bn", "padding": "symmetric"}),
    (plain, 20, {}),
    (resnet_imagenet, 34, {"version": 2, "strided_block": "last"}),
]


def lived_in(model):
    """With moving statistics and scales that are not those of the start."""
    weights = {n: a for n, a in unstack(model).items() if a.dtype.kind == "f"}
    moved = {n: a * RNG.uniform(0.9, 1.1, a.shape) + 0.1 * (a.ndim == 1) for n, a in weights.items()}
    stack(model, unstack(model) | moved)
    return model


@pytest.mark.parametrize(("family", "depth", "options"), FAMILIES)
@pytest.mark.parametrize("stage", ["looped", "unrolled"])
@pytest.mark.parametrize("training", [False, True])
def test_its_blocks_in_their_order_are_the_network(family, depth, options, stage, training):
    model = lived_in(family((16, 16, 3), 7, depth, stage=stage, **options))
    before = [np.array(v) for v in model.variables]
    outputs = run(cut(model), IMAGES, training)
    for variable, was in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, was)
    expected = np.array(model(IMAGES, training=training))
    np.testing.assert_allclose(outputs[-1], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_looped_and_unrolled_blocks_are_called_alike_and_do_the_same():
    models = [resnet_v1((16, 16, 3), 7, 20, stage=stage) for stage in ("looped", "unrolled")]
    stack(models[1], unstack(lived_in(models[0])))
    looped, unrolled = map(cut, models)
    names = ["stem", *(f"stage{i}_block{j}" for i in (1, 2, 3) for j in (1, 2, 3)), "head"]
    assert [block.name for block in looped] == [block.name for block in unrolled] == names
    x = IMAGES
    for a, b in zip(looped, unrolled, strict=True):
        if a.numbered:
            np.testing.assert_allclose(a.without_branch(x), b.without_branch(x), rtol=1e-4, atol=1e-4)
        y, z = np.array(a(x)), np.array(b(x))
        np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-4 * np.abs(y).max())
        x = y


@pytest.mark.parametrize("stage", ["looped", "unrolled"])
def test_a_block_without_its_branch_is_its_shortcut(stage):
    """Of identity blocks the identity: v1's last ReLU finds nothing below 0, v2 and a plain one have none."""
    for family, depth in ((resnet_v1, 20), (resnet_v2, 29), (plain, 20)):
        blocks = cut(
            family((16, 16, 3), 7, depth, shortcut="identity", stage=stage)
            if family is not plain
            else family((16, 16, 3), 7, depth, stage=stage)
        )
        x = IMAGES
        for block in blocks:
            if block.numbered and block.keeps_shape:
                np.testing.assert_array_equal(block.without_branch(x), x)
            elif block.numbered and family is not plain:
                left = np.array(block.without_branch(x))
                added = left.shape[-1] - x.shape[-1]
                strided = np.array(x)[:, :: x.shape[1] // left.shape[1], :: x.shape[2] // left.shape[2]]
                around = (0, 0), (0, 0), (0, 0), (added // 2, added - added // 2)
                np.testing.assert_array_equal(left, np.pad(strided, around))
            x = block(x)


def test_a_plain_block_that_changes_the_shape_cannot_be_removed():
    blocks = numbered(cut(plain((16, 16, 3), 7, 20)))
    assert [block.name for block in blocks if not block.removable] == ["stage2_block1", "stage3_block1"]
    with pytest.raises(ValueError, match="stage2_block1 changes the shape"):
        blocks[3].without_branch(np.zeros((1, 16, 16, 16), np.float32))


def test_stages_without_blocks_are_one_block_each():
    blocks = cut(vgg((32, 32, 3), 7, 11))
    assert [block.name for block in numbered(blocks)] == [f"stage{i}" for i in range(1, 6)]
    assert not any(block.removable for block in numbered(blocks))


def test_a_network_of_other_names_is_refused():
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)), name="own")
    with pytest.raises(UserError, match="own has no blocks: none of its layers is called"):
        cutting.cut(model)
