"""Cuts of a data set: who stands on which side, and what is said of equal pictures."""

import hashlib

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from resnet.data.cuts import draw, split_off, subset
from resnet.data.dataset import Split, make_dataset
from resnet.errors import UserError

NAMES = ["often", "rare", "third"]
WHOLE = {
    "train_size": None,
    "test_size": None,
    "validation_split": 0.0,
    "normalization": "channel",
    "seed": 1,
}


def noise(counts, seed=0):
    """A Split of noise with so many images of each class, all different."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 4, 4, 3), np.uint8)
    return Split(images, labels)


def joined(*splits):
    return Split(*(np.concatenate([getattr(s, name) for s in splits]) for name in ("images", "labels")))


def pixels(split):
    return {image.tobytes() for image in split.images}


def test_hashes_are_those_of_the_pixels():
    split = noise([5, 5])
    expected = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in split.images]
    assert split.hashes.dtype == np.uint64
    assert split.hashes.tolist() == [int.from_bytes(digest, "little") for digest in expected]
    upside_down = Split(split.images[:, ::-1], split.labels)  # not contiguous
    np.testing.assert_array_equal(Split(upside_down.images.copy(), split.labels).hashes, upside_down.hashes)
    np.testing.assert_array_equal(split.take([3, 1]).hashes, split.hashes[[3, 1]])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.2, 0.35])
def test_a_cut_that_needs_nothing_is_scikit_learns(seed, fraction):
    split = noise([50, 40, 30])
    kept, cut = split_off(split, fraction, seed, "test_split", NAMES)
    inside, outside = train_test_split(
        np.arange(120), train_size=round(fraction * 120), stratify=split.labels, random_state=seed
    )
    np.testing.assert_array_equal(cut.images, split.images[np.sort(inside)])
    np.testing.assert_array_equal(kept.images, split.images[np.sort(outside)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("counts", [[100, 2], [2, 100], [300, 2, 3], [60, 2, 2]])
def test_each_class_is_on_both_sides_of_a_cut(counts, fraction, seed):
    split = noise(counts)
    kept, cut = split_off(split, fraction, seed, "test_split", NAMES)
    assert (len(kept), len(cut)) == (
        sum(counts) - round(fraction * sum(counts)),
        round(fraction * sum(counts)),
    )
    for side in (kept, cut):
        assert set(side.labels) == set(range(len(counts)))
    assert pixels(kept) | pixels(cut) == pixels(split)
    assert not pixels(kept) & pixels(cut)


def test_a_subset_has_its_size_and_every_class():
    for size in (3, 10, 99):
        drawn = subset(noise([100, 2]), size, 1, "train_size", NAMES)
        assert len(drawn) == size
        assert set(drawn.labels) == {0, 1}


def test_another_seed_chooses_another_of_a_rare_class():
    split = noise([100, 2])
    chosen = {split_off(split, 0.2, seed, "test_split", NAMES)[1].images[-1].tobytes() for seed in range(10)}
    assert chosen == pixels(split.take(split.labels == 1))


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (noise([10, 1]), "data.test_split: class rare has one image, a cut needs two"),
        (
            joined(noise([10, 0]), *[noise([0, 1])] * 3),
            "data.test_split: class rare has one image in 3 copies; a cut needs two",
        ),
    ],
)
def test_a_class_that_cannot_be_cut_is_named(split, words):
    with pytest.raises(UserError, match=words):
        split_off(split, 0.3, 1, "test_split", NAMES)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.8])
def test_equal_pictures_of_a_class_stay_on_one_side(fraction, seed):
    once, twice, many = noise([40, 40], 1), noise([30, 30], 2), noise([1, 1], 3)
    split = joined(once, twice, twice, *[many] * 12)
    kept, cut = split_off(split, fraction, seed, "test_split", NAMES)
    assert not pixels(kept) & pixels(cut)
    assert len(kept) + len(cut) == len(split)
    shares = np.bincount(cut.labels) / np.bincount(split.labels)
    np.testing.assert_allclose(shares, fraction, atol=0.06)  # a group of 12 is 0.1 of its class


def test_few_copies_move_few_others():
    split = noise([500, 500])
    drawn, _ = train_test_split(np.arange(1000), train_size=200, stratify=split.labels, random_state=3)
    others = np.setdiff1d(np.arange(500), drawn)  # of the first class
    split.images[drawn[drawn < 500][:3]] = split.images[others[0]]
    kept, cut = split_off(split, 0.2, 3, "test_split", NAMES)
    assert not pixels(kept) & pixels(cut)
    assert len(pixels(cut) - pixels(split.take(drawn))) <= 4


def test_a_data_set_says_how_many_are_equal(caplog):
    whole = noise([20, 20])
    dataset = make_dataset(joined(whole, whole.take(np.arange(7))), None, NAMES[:2], test_split=0.2, **WHOLE)
    assert not pixels(dataset.train) & pixels(dataset.test)
    assert [record.getMessage() for record in caplog.records] == [
        "equal pictures: 7 of 47 are copies, which data.test_split leaves on one side"
    ]


def test_copies_in_a_given_test_set_are_counted(caplog):
    train, test = noise([20, 20], 1), noise([5, 5], 2)
    test = joined(test, train.take([3, 25]))
    make_dataset(train, test, NAMES[:2], validation=train.take([1, 30]), **WHOLE)
    assert [record.getMessage() for record in caplog.records] == [
        "equal pictures: 2 of 12 test images are train images too, as 10; "
        "2 of 2 validation images are train images too, as 0"
    ]


def test_equal_pictures_with_two_labels_are_named(caplog):
    train, test = noise([20, 20], 1), noise([5, 5], 2)
    names = np.array([f"{label}/{i}.png" for i, label in enumerate(train.labels)], object)
    train.images[[25, 30]] = train.images[[3, 4]]
    make_dataset(Split(train.images, train.labels, names), test, NAMES[:2], **WHOLE)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("equal pictures: 2 have more than one label, as ")
    assert line.partition(" as ")[2] in (
        "train image 0/3.png (often) and train image 1/25.png (rare)",
        "train image 0/4.png (often) and train image 1/30.png (rare)",
    )


def test_folds_part_the_images_class_by_class_with_copies_on_one_side():
    whole = noise([40, 13, 5])
    whole.images[7] = whole.images[23]
    options = WHOLE | {"folds": 5}
    made = [make_dataset(whole, noise([2, 2, 2], 9), NAMES, **options, fold=fold) for fold in range(5)]
    assert sorted(n for d in made for n in d.validation.hashes) == sorted(whole.hashes)
    for dataset in made:
        assert set(dataset.validation.hashes).isdisjoint(dataset.train.hashes)
        assert len(dataset.train) + len(dataset.validation) == 58
        counts = np.bincount(dataset.validation.labels)
        assert all(abs(found - share) <= 1 for found, share in zip(counts, (8, 2.6, 1), strict=True))
    with pytest.raises(UserError, match="data.folds=6: class third has 5 different images"):
        make_dataset(whole, noise([2, 2, 2], 9), NAMES, **WHOLE, folds=6)


def test_a_balanced_epoch_shows_each_class_alike_often():
    dataset = make_dataset(noise([70, 20, 7]), noise([1, 1, 1], 9), NAMES, **WHOLE, balance=True)
    order = dataset.order([3, 1])
    counts = np.bincount(dataset.train.labels[order])
    assert sorted(counts) == [32, 32, 33]
    times = np.bincount(order, minlength=97)
    for label in range(3):
        of_class = times[dataset.train.labels == label]
        assert of_class.max() - of_class.min() <= 1
    np.testing.assert_array_equal(order, dataset.order([3, 1]))
    assert np.any(order != dataset.order([3, 2]))
    assert not np.array_equal(np.sort(dataset.train.labels[order[:48]]), np.sort(dataset.train.labels[:48]))
    plain = make_dataset(noise([70, 20, 7]), noise([1, 1, 1], 9), NAMES, **WHOLE)
    np.testing.assert_array_equal(plain.order([3, 1]), np.random.default_rng([3, 1]).permutation(97))


def test_nothing_is_said_where_all_differ(caplog):
    make_dataset(noise([20, 20], 1), noise([5, 5], 2), NAMES[:2], **WHOLE | {"validation_split": 0.2})
    assert caplog.records == []


@pytest.mark.parametrize(
    "counts", [[5000] * 10, [100, 2], [7, 5, 3, 11], [143, 146, 142, 147, 145], [40, 39, 41]]
)
@pytest.mark.parametrize("fraction", [0.07, 0.1, 0.25, 0.5, 0.9])
def test_draws_are_those_of_scikit_learn(counts, fraction):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    for seed in range(5):
        size = max(len(counts), min(round(fraction * len(labels)), len(labels) - len(counts)))
        options = {"train_size": size, "stratify": labels, "random_state": seed}
        expected, _ = train_test_split(np.arange(len(labels)), **options)
        np.testing.assert_array_equal(np.sort(draw(labels, size, seed)), np.sort(expected))
