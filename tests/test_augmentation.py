import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from resnet import augmentation

IMAGES = tf.constant(np.random.default_rng(0).normal(size=(64, 20, 21, 3)).astype("float32"))
LABELS = tf.one_hot(tf.range(64) % 10, 10)
SEED = tf.constant([1, 2])


def apply(augment, seed=SEED):
    batch = augment(augmentation.Batch(IMAGES, LABELS, tf.range(64), tf.constant(0)), seed)
    return batch.images.numpy()


@pytest.mark.parametrize("make", [augmentation.none, augmentation.shift_flip, augmentation.crop_flip])
def test_seeded_and_shaped(make):
    augment = make()
    np.testing.assert_array_equal(apply(augment), apply(augment))
    assert apply(augment).shape == IMAGES.shape


def test_another_seed_gives_other_pictures():
    augment = augmentation.shift_flip()
    assert np.any(apply(augment) != apply(augment, tf.constant([1, 3])))


def test_flip_mirrors_about_half():
    flipped = apply(augmentation.shift_flip(shift=0.0))
    same = np.all(flipped == IMAGES, axis=(1, 2, 3))
    mirrored = np.all(flipped == IMAGES[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(same ^ mirrored)
    assert 16 < mirrored.sum() < 48


def test_crop_is_a_window_of_the_padded_picture():
    padded = np.pad(IMAGES, ((0, 0), (4, 4), (4, 4), (0, 0)))
    cropped = apply(augmentation.crop_flip(4, flip=False))
    windows = set()
    for picture, source in zip(cropped, padded, strict=True):
        found = [
            (y, x)
            for y in range(9)
            for x in range(9)
            if np.array_equal(source[y : y + 20, x : x + 21], picture)
        ]
        assert found
        windows.update(found)
    assert len(windows) > 20


def test_shift_is_that_of_keras():
    """Shifts lie in [-10%, 10%] (read off two ramps); SciPy, which Keras calls, gives the same."""
    rows, columns = np.mgrid[:20, :21].astype("float32")
    pictures = np.stack([np.stack([rows, columns, i[..., 0]], -1) for i in IMAGES.numpy()])
    augment = augmentation.shift_flip(0.1, flip=False)
    batch = augment(augmentation.Batch(tf.constant(pictures), LABELS, tf.range(64), tf.constant(0)), SEED)
    shifts = batch.images.numpy()[:, 10, 10, :2] - 10
    for shifted, source, shift in zip(batch.images.numpy(), pictures, shifts, strict=True):
        expected = scipy.ndimage.shift(source[..., 2], -shift, order=1, mode="nearest")
        np.testing.assert_allclose(shifted[..., 2], expected, atol=1e-4)
    assert np.all(np.abs(shifts) <= [2.0, 2.1])
    np.testing.assert_allclose(shifts.std(0), np.array([2.0, 2.1]) / 3**0.5, rtol=0.2)
