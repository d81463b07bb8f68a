import dataclasses
import zlib

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from keras.src.legacy.preprocessing import image as legacy
from PIL import Image, ImageEnhance, ImageOps

import resnet
from resnet import augmentation
from resnet.augmentation import affine, colour, crop, mixing, operations
from resnet.augmentation import transform as transform_module
from resnet.augmentation.generator import draw, transform
from resnet.augmentation.generator import image_data_generator as generator
from resnet.data import Dataset, Normalization, Preprocessing, Split
from resnet.errors import UserError
from resnet.models import resnet_v1

PICTURES = np.random.default_rng(0).integers(0, 256, (64, 20, 21, 3), np.uint8)
IMAGES = tf.constant((PICTURES / 255 - 0.5).astype("float32"))
LABELS = tf.one_hot(tf.range(64) % 10, 10)
SEED = tf.constant([1, 2])
NORMALIZATION = Normalization(np.float32([0.5]), np.float32([1]))
EVERYTHING = {
    "rotation_range": 20.0,
    "width_shift_range": 0.2,
    "height_shift_range": 0.1,
    "shear_range": 10.0,
    "zoom_range": 0.2,
    "channel_shift_range": 0.1,
    "brightness_range": [0.5, 1.5],
    "horizontal_flip": True,
    "vertical_flip": True,
}
TRANSFORMS = {
    "none": augmentation.none,
    "shift_flip": augmentation.shift_flip,
    "crop_flip": augmentation.crop_flip,
    "crop_flip reflect": lambda: augmentation.crop_flip(fill="reflect"),
    "alternating_flip": augmentation.alternating_flip,
    "image_data_generator": lambda: augmentation.image_data_generator(**EVERYTHING),
    "cutout": lambda: augmentation.cutout(1),
    "mixup": augmentation.mixup,
    "cutmix": augmentation.cutmix,
    "randaugment": augmentation.randaugment,
    "random_resized_crop": augmentation.random_resized_crop,
    "colour_jitter": augmentation.colour_jitter,
    "in_order": lambda: augmentation.in_order([augmentation.crop_flip(), augmentation.mixup()]),
    "one_of": lambda: augmentation.one_of([augmentation.cutmix(), augmentation.mixup()]),
}
FIXED = ("none", "alternating_flip")  # draw nothing from the seed
MIXING = ("mixup", "cutmix", "in_order", "one_of")


def dataset_of(pictures):
    split = Split(pictures, np.arange(len(pictures), dtype=np.int32) % 10)
    return Dataset(split, split, [str(i) for i in range(10)], NORMALIZATION)


def standardized(dataset, **options):
    return Preprocessing.of(dataset, generator(**options)).normalization


def apply(augment, seed=SEED, images=IMAGES, epoch=0, labels=LABELS, normalization="fixed"):
    size, normalization = len(images), NORMALIZATION if normalization == "fixed" else normalization
    images = tf.constant(images)
    return augment(
        augmentation.Batch(images, labels[:size], tf.range(size), tf.constant(epoch), normalization), seed
    )


@pytest.fixture(params=[(64, 20, 21, 3), (64, 20, 21, 1), (3, 7, 5, 3), (1, 1, 2, 1)], ids=str)
def images(request):
    count, height, width, channels = request.param
    return IMAGES[:count, :height, :width, :channels]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_contract(name, images):
    """Same seed, same batch, in a graph of any batch size; shapes, ranges and labels as they must be."""
    augment = TRANSFORMS[name]()

    @tf.function(input_signature=[tf.TensorSpec([None, *images.shape[1:]])])
    def graph(x):
        size = tf.shape(x)[0]
        batch = augmentation.Batch(x, LABELS[:size], tf.range(size), tf.constant(0), NORMALIZATION)
        return augment(batch, SEED)._replace(normalization=None)

    batch, again = graph(images), graph(images)
    assert batch.images.shape == images.shape
    assert batch.images.dtype == batch.labels.dtype == tf.float32
    np.testing.assert_array_equal(batch.images, again.images)
    np.testing.assert_array_equal(batch.labels, again.labels)
    np.testing.assert_allclose(batch.images, apply(augment, images=images).images, atol=1e-5)
    assert np.all(np.abs(batch.images) <= 0.5 + 1e-5)
    assert np.all(batch.labels >= 0)
    np.testing.assert_allclose(tf.reduce_sum(batch.labels, 1), 1, atol=1e-6)
    if name not in MIXING:
        np.testing.assert_array_equal(batch.labels, LABELS[: len(images)])
    np.testing.assert_array_equal(batch.indices, tf.range(len(images)))


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name not in FIXED])
def test_another_seed_gives_other_pictures(name):
    augment = TRANSFORMS[name]()
    assert np.any(apply(augment).images != apply(augment, tf.constant([1, 3])).images)


def test_one_more_transform_leaves_the_draws_of_the_others():
    ones = tf.ones([64, 20, 21, 3])
    alone = apply(augmentation.cutout(8), images=ones).images
    shifted = augmentation.shift_flip()  # which leaves pictures of one colour alone
    among = apply(augmentation.in_order([shifted, augmentation.cutout(8)]), images=ones).images
    np.testing.assert_allclose(alone, among, atol=1e-6)


def test_two_of_a_kind_draw_apart():
    ones = tf.ones([64, 20, 21, 3])
    once = apply(augmentation.cutout(8), images=ones).images
    twice = augmentation.in_order([augmentation.cutout(8), augmentation.cutout(8)])
    assert np.mean(apply(twice, images=ones).images) < np.mean(once) - 0.05


def test_one_of_is_either_about_as_often():
    kinds = [
        augmentation.cutout(8),
        augmentation.Transform(None, lambda batch, _: batch._replace(images=-batch.images)),
    ]
    chosen = augmentation.one_of(kinds)
    ones = tf.ones((1, 16, 16, 3))
    least = [float(tf.reduce_min(apply(chosen, (1, i), ones, labels=LABELS[:1]).images)) for i in range(200)]
    assert set(least) == {0.0, -1.0}
    assert least.count(0.0) / 200 == pytest.approx(0.5, abs=0.12)
    for refused in (augmentation.random_resized_crop(), generator(rescale=2.0)):
        with pytest.raises(ValueError, match="one_of takes none"):
            augmentation.one_of([kinds[0], refused])


def test_flip_mirrors_about_half():
    flipped = apply(augmentation.shift_flip(shift=0.0)).images
    same = np.all(flipped == IMAGES, axis=(1, 2, 3))
    mirrored = np.all(flipped == IMAGES[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(same ^ mirrored)
    assert 16 < mirrored.sum() < 48


def test_alternating_flip_shows_both_ways_in_any_two_epochs():
    augment = augmentation.alternating_flip(seed=1)
    epochs = [apply(augment, tf.constant([1, e]), epoch=e).images.numpy() for e in range(3)]
    mirrored = np.all(epochs[0] == IMAGES[:, :, ::-1], axis=(1, 2, 3))
    assert 16 < mirrored.sum() < 48
    np.testing.assert_array_equal(epochs[1], epochs[0][:, :, ::-1])
    np.testing.assert_array_equal(epochs[2], epochs[0])
    assert np.any(apply(augmentation.alternating_flip(seed=2)).images != epochs[0])


@pytest.mark.parametrize(("fill", "mode"), [("zeros", "constant"), ("reflect", "reflect")])
def test_crop_is_a_window_of_the_padded_picture(fill, mode):
    padded = np.pad(IMAGES, ((0, 0), (4, 4), (4, 4), (0, 0)), mode)
    cropped = apply(augmentation.crop_flip(4, fill, flip=False)).images
    windows = set()
    for picture, source in zip(cropped.numpy(), padded, strict=True):
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
    shifted = apply(augmentation.shift_flip(0.1, flip=False), images=pictures).images.numpy()
    shifts = shifted[:, 10, 10, :2] - 10
    for picture, source, shift in zip(shifted, pictures, shifts, strict=True):
        expected = scipy.ndimage.shift(source[..., 2], -shift, order=1, mode="nearest")
        np.testing.assert_allclose(picture[..., 2], expected, atol=1e-4)
    assert np.all(np.abs(shifts) <= [2.0, 2.1])
    np.testing.assert_allclose(shifts.std(0), np.array([2.0, 2.1]) / 3**0.5, rtol=0.2)


# keras' ImageDataGenerator


def in_keras(pictures, fill_mode, **ranges):
    """Parameters that Keras draws, as arrays by name, and the pictures it makes with them."""
    generator = legacy.ImageDataGenerator(fill_mode=fill_mode, cval=0.3, **ranges)
    drawn = [generator.get_random_transform(pictures[0].shape, seed=i) for i in range(len(pictures))]
    made = np.stack([generator.apply_transform(p.copy(), d) for p, d in zip(pictures, drawn, strict=True)])
    arrays = {name: np.array([d[name] for d in drawn]) for name in drawn[0] if drawn[0][name] is not None}
    return {n: v if v.dtype == bool else v.astype("float32") for n, v in arrays.items()}, made


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill_mode", affine.FILL_MODES)
def test_pictures_are_those_of_keras_for_the_same_parameters(fill_mode, channels):
    """To 1e-4: positions are float32 here and float64 in SciPy, 1e-5 of a pixel apart at this size."""
    ranges = {n: v for n, v in EVERYTHING.items() if n != "brightness_range"} | {
        "rotation_range": 180,
        "zoom_range": [0.4, 2.5],
        "width_shift_range": 0.6,
        "height_shift_range": 0.4,
    }
    pictures = IMAGES.numpy()[:, :20, :20, :channels]
    drawn, expected = in_keras(pictures, fill_mode, **ranges)
    np.testing.assert_allclose(transform(tf.constant(pictures), drawn, fill_mode, 0.3), expected, atol=1e-4)


@pytest.mark.parametrize("fill_mode", affine.FILL_MODES)
def test_oblong_pictures_turn_about_their_centre(fill_mode, monkeypatch):
    """Keras swaps height and width when it finds the centre; with that mended, it gives the same."""
    centred = legacy.transform_matrix_offset_center
    monkeypatch.setattr(legacy, "transform_matrix_offset_center", lambda m, h, w: centred(m, w, h))
    pictures = IMAGES.numpy()[:, :9, :21]
    drawn, expected = in_keras(pictures, fill_mode, rotation_range=90, shear_range=20, zoom_range=0.5)
    np.testing.assert_allclose(transform(tf.constant(pictures), drawn, fill_mode, 0.3), expected, atol=1e-4)


@pytest.mark.parametrize("scale", [1, 255])
def test_brightness_is_that_of_keras(scale):
    """To three of 256 levels: Keras rounds down to whole levels before it multiplies, by 1.9, and after."""
    pictures = IMAGES.numpy() if scale == 1 else PICTURES.astype("float32")
    drawn, expected = in_keras(pictures, "nearest", brightness_range=[0.3, 1.9])
    images = transform(tf.constant(pictures), drawn, "nearest", 0.0)
    np.testing.assert_allclose(images, expected, atol=3 / 255 * scale)


def test_ten_thousand_draws_are_distributed_as_in_keras():
    count = 10_000
    ours = draw(SEED, count, 30, 30, **EVERYTHING)
    np.random.seed(0)
    generator = legacy.ImageDataGenerator(**EVERYTHING)
    theirs = [generator.get_random_transform((30, 30, 3)) for _ in range(count)]
    # Keras 3 moves the rows (ty) by width_shift_range, here the columns.
    swapped = {"tx": "ty", "ty": "tx"}
    assert set(ours) == set(theirs[0])
    for name, values in ours.items():
        reference = [draw[swapped.get(name, name)] for draw in theirs]
        if values.dtype == tf.bool:
            assert abs(np.mean(values) - np.mean(reference)) < 0.03
        else:
            assert scipy.stats.ks_2samp(values.numpy(), reference).pvalue > 1e-3, name
    correlations = np.corrcoef([np.asarray(v, float) for v in ours.values()])
    assert np.all(np.abs(correlations - np.eye(len(correlations))) < 0.05)


@pytest.mark.parametrize("extent", [4, 3.5, [2, 5], [-0.1, 0.2]])
def test_pixel_shifts_are_distributed_as_in_keras(extent):
    off = {n: v for n, v in EVERYTHING.items() if "shift" not in n} | {"channel_shift_range": 0.0}
    ours = draw(SEED, 10_000, 30, 30, **off, width_shift_range=extent, height_shift_range=0.0)["tx"]
    np.random.seed(0)
    generator = legacy.ImageDataGenerator(width_shift_range=extent)
    theirs = [generator.get_random_transform((30, 30, 3))["ty"] for _ in range(10_000)]
    if isinstance(extent, float):
        assert scipy.stats.ks_2samp(ours.numpy(), theirs).pvalue > 1e-3
        return
    values = sorted(set(theirs))
    shares = [[np.mean(np.isclose(sample, v)) for v in values] for sample in (ours.numpy(), theirs)]
    np.testing.assert_allclose(*shares, atol=0.02)
    assert sum(shares[0]) == pytest.approx(1)


STANDARDIZATION = {
    "rescale": None,
    "samplewise_center": False,
    "samplewise_std_normalization": False,
    "featurewise_center": False,
    "featurewise_std_normalization": False,
    "zca_whitening": False,
    "zca_epsilon": 1e-6,
}


@pytest.mark.filterwarnings("ignore:This ImageDataGenerator")
@pytest.mark.parametrize(
    "chosen",
    [
        {"rescale": 3.0},
        {"samplewise_center": True},
        {"samplewise_std_normalization": True},
        {"featurewise_center": True, "rescale": 0.5},
        {"featurewise_std_normalization": True},
        {"featurewise_std_normalization": True, "samplewise_std_normalization": True},
        {"zca_whitening": True},
        {"zca_whitening": True, "featurewise_std_normalization": True, "zca_epsilon": 1.0, "rescale": 2.0},
    ],
    ids=str,
)
def test_standardization_is_that_of_keras(chosen):
    """To 1e-4, whitening to 1e-3: Keras decomposes in float32."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (400, 3, 3, 3))
    pictures = (coarse.repeat(2, 1).repeat(2, 2) // 2 + rng.integers(0, 128, (400, 6, 6, 3))).astype("uint8")
    fitted = standardized(dataset_of(pictures), **chosen)
    scaled = fitted.scale(pictures).astype("float32")
    theirs = legacy.ImageDataGenerator(**chosen)
    theirs.fit(scaled)
    if chosen.get("samplewise_center") or chosen.get("samplewise_std_normalization"):
        expected = np.stack([theirs.standardize(picture[None].copy())[0] for picture in scaled])
    else:
        expected = theirs.standardize(scaled.copy())
    np.testing.assert_allclose(fitted(pictures), expected, atol=1e-3 if "zca_whitening" in chosen else 1e-4)


def test_standardization_is_saved(tmp_path):
    dataset = dataset_of(PICTURES[:, :5, :5])
    for fitted in (Preprocessing.of(dataset), Preprocessing.of(dataset, generator(zca_whitening=True))):
        fitted.save(tmp_path / "normalization.npz")
        loaded = Preprocessing.load(tmp_path / "normalization.npz")
        pictures = dataset.test.images
        np.testing.assert_array_equal(loaded.inference(pictures), fitted.inference(pictures))


def test_standardization_is_done_in_evaluation():
    """The trainer's test loss is that of the network on pictures as `inference` gives them."""
    augment = generator(featurewise_std_normalization=True, horizontal_flip=True)
    dataset = dataset_of(PICTURES[:, :16, :16])
    dataset = dataclasses.replace(dataset, test=dataset.train.take(np.arange(40)))
    model = resnet_v1((16, 16, 3), 10, depth=8, l2=0.0)
    trainer = resnet.fit(model, dataset, keras.optimizers.SGD(0.01), augmentation=augment, epochs=1)
    seen = trainer.preprocessing.inference(dataset.test.images)
    assert float(tf.math.reduce_std(seen)) == pytest.approx(1, rel=1e-3)
    logits = model(seen, training=False)
    losses = keras.losses.sparse_categorical_crossentropy(dataset.test.labels, logits, from_logits=True)
    assert trainer.evaluate(dataset.test)["loss"] == pytest.approx(float(tf.reduce_mean(losses)), rel=1e-4)


def test_standardization_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match="not measured"):
        apply(generator(featurewise_center=True))


def test_only_one_transform_standardizes():
    with pytest.raises(ValueError, match="only one"):
        augmentation.in_order([generator(rescale=2.0), generator(samplewise_center=True)])


def test_pictures_too_large_to_whiten_are_refused():
    dataset = dataset_of(np.zeros([2, 100, 100, 3], np.uint8))
    with pytest.raises(UserError, match="100x100x3"):
        Preprocessing.of(dataset, generator(zca_whitening=True))


# Cutting and mixing


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 5.0])
def test_shares_are_beta_distributed(alpha):
    shares = mixing.beta(SEED, alpha, [10_000]).numpy()
    points = np.array([1e-6, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1 - 1e-4])
    found = [np.mean(shares < point) for point in points]
    np.testing.assert_allclose(found, scipy.stats.beta(alpha, alpha).cdf(points), atol=0.02)


def test_cutout_is_one_square_around_any_pixel():
    images = apply(augmentation.cutout(6), images=tf.ones([64, 20, 21, 3])).images.numpy()
    holes = images[..., 0] == 0
    np.testing.assert_array_equal(images, np.where(holes[..., None], 0, 1).repeat(3, -1))
    heights, widths = holes.any(2).sum(1), holes.any(1).sum(1)
    np.testing.assert_array_equal(holes.sum((1, 2)), heights * widths)
    assert set(heights) | set(widths) <= {3, 4, 5, 6}
    assert np.mean(heights == 6) == pytest.approx(15 / 20, abs=0.2)


@pytest.mark.parametrize(("size", "shape"), [(8, (8, 8)), (16, (8, 8)), (16, (8, 12)), (40, (32, 32))])
def test_cutout_of_whole_pictures_is_refused(size, shape):
    whole = tf.ones([4, *shape, 3])
    with pytest.raises(
        UserError, match=rf"augmentation.size={size}: .*{shape[0]}x{shape[1]}; .*half: {shape[0] // 2}"
    ):
        apply(augmentation.in_order([augmentation.cutout(size)]), images=whole)
    left = apply(augmentation.cutout(max(shape) - 1), images=whole).images
    assert np.all(tf.reduce_max(left, [1, 2, 3]) == 1)


@pytest.mark.parametrize("mix", [augmentation.mixup(1.0), augmentation.cutmix(1.0)])
def test_labels_mix_as_the_pictures_do(mix):
    """Where a picture is one colour, the number of its class, its mean is that of its label."""
    colours = tf.cast(tf.argmax(LABELS, 1), tf.float32)
    batch = apply(mix, images=tf.tile(colours[:, None, None, None], [1, 20, 21, 1]))
    np.testing.assert_allclose(
        tf.reduce_mean(batch.images, [1, 2, 3]), batch.labels.numpy() @ np.arange(10.0), atol=1e-4
    )
    assert np.mean(tf.reduce_max(batch.labels, 1) < 0.99) > 0.5


def test_cutmix_pastes_a_box():
    colours = tf.range(64.0)[:, None, None, None]
    images = apply(augmentation.cutmix(), images=tf.tile(colours, [1, 20, 21, 1])).images.numpy()
    pasted = images[..., 0] != np.arange(64)[:, None, None]
    assert pasted.any((1, 2)).mean() > 0.8
    np.testing.assert_array_equal(pasted.sum((1, 2)), pasted.any(1).sum(1) * pasted.any(2).sum(1))


# RandAugment


def enhanced(enhancer):
    return lambda picture, strength: enhancer(picture).enhance(1 + 0.9 * strength)


def moved(*, a=0.0, b=0.0, x=0.0, y=0.0):
    """Pillow reads at pixel corners; half a pixel each way makes a shear hold the picture's centre."""

    def move(picture, s):
        w, h = picture.size
        matrix = (1, a * s, x * s * w - a * s * h / 2, b * s, 1, y * s * h - b * s * w / 2)
        colour = (128,) * len(picture.getbands())
        return picture.transform(
            picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=colour
        )

    return move


IN_PILLOW = {
    "identity": lambda picture, s: picture,
    "auto_contrast": lambda picture, s: ImageOps.autocontrast(picture),
    "equalize": lambda picture, s: ImageOps.equalize(picture),
    "rotate": lambda picture, s: picture.rotate(30 * s, Image.Resampling.BILINEAR, fillcolor=(128,) * 3),
    "solarize": lambda picture, s: ImageOps.solarize(picture, int(256 * (1 - abs(s)))),
    "posterize": lambda picture, s: ImageOps.posterize(picture, 8 - round(4 * abs(s))),
    "color": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "brightness": enhanced(ImageEnhance.Brightness),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "shear_x": moved(a=0.3),
    "shear_y": moved(b=0.3),
    "translate_x": moved(x=10 / 32),
    "translate_y": moved(y=10 / 32),
}


@pytest.mark.parametrize("name", operations.OPERATIONS)
def test_operations_are_those_of_pillow(name):
    """To two of 256 levels, since Pillow rounds; moved pictures away from the edge, which Pillow softens."""
    smooth = scipy.ndimage.gaussian_filter(PICTURES.astype(float), (0, 2, 2, 0))
    pictures = (40 + 6 * (smooth - smooth.min((1, 2, 3), keepdims=True)) / 6).clip(0, 255).astype("uint8")
    geometric = name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
    for strength in (-1.0, -0.5, 0.25, 0.75):
        made = operations.OPERATIONS[name](tf.constant(pictures[:8], tf.float32), tf.fill([8], strength))
        expected = np.stack([np.asarray(IN_PILLOW[name](Image.fromarray(p), strength)) for p in pictures[:8]])
        apart = np.abs(made.numpy() - expected)
        if geometric:
            filled = np.all(expected == 128, -1) | np.all(made == 128, -1)
            apart = apart[~scipy.ndimage.binary_dilation(filled, np.ones((1, 3, 3)))]
        assert apart.size > 1000
        assert apart.max() <= 2


def test_every_operation_is_drawn_alike(monkeypatch):
    """Fourteen operations that each paint their own number."""
    paint = {str(i): lambda images, _, i=i: tf.fill(tf.shape(images), float(i)) for i in range(14)}
    monkeypatch.setattr(operations, "OPERATIONS", paint)
    augment = augmentation.randaugment(operations=1)
    painted = apply(augment, images=tf.zeros([14_000, 1, 1, 1])).images
    counts = np.bincount(np.round((painted[:, 0, 0, 0] + 0.5) * 255).astype(int), minlength=14)
    assert len(counts) == 14
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_randaugment_needs_the_normalization():
    with pytest.raises(ValueError, match="normalization"):
        apply(augmentation.randaugment(), normalization=None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: augmentation.shift_flip(1.0),
        lambda: augmentation.crop_flip(-1),
        lambda: augmentation.crop_flip(4, "wrap"),
        lambda: augmentation.image_data_generator(fill_mode="mirror"),
    ],
)
def test_impossible_arguments(make):
    with pytest.raises(ValueError, match="augmentation"):
        make()


# Crops


@pytest.mark.parametrize("shape", [(20, 21), (12, 40)])
def test_a_resized_crop_is_pillows(shape):
    """Of whole pictures in floats: cropped, then scaled with its triangle filter."""
    pictures = np.random.default_rng(1).normal(0, 1, (16, *shape, 3)).astype(np.float32)
    batch = apply(augmentation.random_resized_crop((0.1, 0.9), (0.5, 2.0)), images=tf.constant(pictures))
    seed = stream("random_resized_crop")
    drawn = crop.boxes(seed, 16, *shape, crop.Crop((0.1, 0.9), (0.5, 2.0)))
    for picture, found, *box in zip(pictures, batch.images.numpy(), *(a.numpy() for a in drawn), strict=True):
        top, left, rows, columns = map(int, box)
        for channel in range(3):
            part = Image.fromarray(picture[..., channel]).crop((left, top, left + columns, top + rows))
            expected = part.resize(shape[::-1], Image.Resampling.BILINEAR)
            np.testing.assert_allclose(found[..., channel], expected, atol=1e-4)


def stream(name):
    """The seed that a transform of this name draws by."""
    return transform_module.fold_in(SEED, zlib.crc32(name.encode()) >> 1)


def drawn_boxes(kind, height, width, how, count=3000):
    if kind == "graph":
        return np.stack(crop.boxes(SEED, count, height, width, how), 1)
    random = np.random.default_rng(0)
    return np.array([how.box(how.draw(random), height, width) for _ in range(count)])


@pytest.mark.parametrize("kind", ["graph", "host"])
def test_crops_have_the_areas_and_shapes_that_are_asked_for(kind):
    top, left, rows, columns = drawn_boxes(kind, 200, 300, crop.Crop((0.1, 0.5), (0.8, 1.25))).T
    assert top.min() >= 0 and left.min() >= 0
    assert (top + rows).max() <= 200 and (left + columns).max() <= 300
    shares = rows * columns / (200 * 300)
    for values, low, high in ((shares, 0.1, 0.5), (np.log(columns / rows), np.log(0.8), np.log(1.25))):
        assert scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).statistic < 0.04
    fraction = top / np.maximum(200 - rows, 1)
    assert abs(fraction.mean() - 0.5) < 0.02


@pytest.mark.parametrize("kind", ["graph", "host"])
@pytest.mark.parametrize(
    ("shape", "ratio", "box"),
    [
        ((20, 50), (1, 1), (0, 15, 20, 20)),
        ((50, 20), (0.5, 1), (5, 0, 40, 20)),
        ((9, 9), (2, 3), (2, 0, 4, 9)),
    ],
)
def test_where_no_crop_fits_it_is_the_largest_in_the_middle(kind, shape, ratio, box):
    found = drawn_boxes(kind, *shape, crop.Crop((1.0, 1.0), ratio), count=3)
    np.testing.assert_array_equal(found, [box] * 3)


def test_crops_need_one_mean_for_all_places():
    batch = augmentation.Batch(IMAGES, LABELS, None, None, Normalization(np.zeros((20, 21, 3)), np.ones(1)))
    with pytest.raises(UserError, match="data.normalization=channel"):
        augmentation.random_resized_crop()(batch, SEED)


def test_a_crop_that_was_cut_already_is_left_out():
    """The others draw as they do beside it."""
    both = augmentation.in_order([augmentation.random_resized_crop(), augmentation.crop_flip()])
    assert both.crop == crop.Crop((0.08, 1.0), (0.75, 4 / 3))
    np.testing.assert_array_equal(apply(both.rest).images, apply(augmentation.crop_flip()).images)
    nested = augmentation.in_order([both, augmentation.cutout(3)])
    np.testing.assert_array_equal(
        apply(nested.rest).images,
        apply(augmentation.in_order([augmentation.crop_flip(), augmentation.cutout(3)])).images,
    )
    assert augmentation.in_order([augmentation.crop_flip(), augmentation.random_resized_crop()]).crop is None


# Colours


@pytest.mark.parametrize(
    ("i", "option", "enhance"),
    [
        (0, "brightness", ImageEnhance.Brightness),
        (1, "contrast", ImageEnhance.Contrast),
        (2, "saturation", ImageEnhance.Color),
    ],
)
def test_colour_jitter_is_pillows(i, option, enhance):
    amounts = dict.fromkeys(("brightness", "contrast", "saturation"), 0.0) | {option: 0.7}
    found = apply(augmentation.colour_jitter(**amounts)).images.numpy()
    factors = transform_module.uniform(stream("colour_jitter"), i, [64], 0.3, 1.7).numpy()
    assert np.ptp(factors) > 1
    for picture, image, factor in zip(PICTURES, found, factors, strict=True):
        expected = np.asarray(enhance(Image.fromarray(picture)).enhance(factor), np.float32)
        assert abs((image + 0.5) * 255 - expected).max() < 1.6  # which rounds


def test_colour_jitter_comes_in_any_order():
    """Brightness that goes up to white before or after saturation."""
    pictures = np.tile(np.float32([0.4, 0.1, -0.3]), (400, 2, 2, 1))
    augment = augmentation.colour_jitter(0.9, 0.0, 0.9)
    batch = augmentation.Batch(
        tf.constant(pictures), tf.zeros([400, 10]), tf.range(400), tf.constant(0), NORMALIZATION
    )
    found = (augment(batch, SEED).images.numpy()[:, 0, 0] + 0.5) * 255
    seed = stream("colour_jitter")
    bright, _, saturated = (
        transform_module.uniform(seed, i, [400], *bounds).numpy()[:, None]
        for i, bounds in enumerate([(0.1, 1.9), (1, 1), (0.1, 1.9)])
    )
    pixels = (pictures[:, 0, 0] + 0.5) * 255

    def saturate(colours):
        grey = (colours @ np.float32([0.299, 0.587, 0.114]))[:, None]
        return np.clip(grey + (colours - grey) * saturated, 0, 255)

    first = saturate(np.clip(pixels * bright, 0, 255))
    last = np.clip(saturate(pixels) * bright, 0, 255)
    is_first, is_last = (np.all(abs(found - colours) < 0.01, 1) for colours in (first, last))
    assert np.all(is_first | is_last)
    assert 0.3 < np.mean(is_first[is_first != is_last]) < 0.7


def test_lighting_follows_the_colours_of_imagenet():
    """One colour for a picture; over many their covariance is that of the paper's equation."""
    images = tf.zeros([5000, 2, 2, 3])
    batch = augmentation.Batch(images, tf.zeros([5000, 10]), tf.range(5000), tf.constant(0), NORMALIZATION)
    found = augmentation.pca_lighting(0.1)(batch, SEED).images.numpy()
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1, :1], found.shape), atol=1e-6)
    directions = np.array(colour.DIRECTIONS)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-3)
    expected = directions @ np.diag((0.1 * np.array(colour.EIGENVALUES)) ** 2) @ directions.T
    np.testing.assert_allclose(np.cov(found[:, 0, 0].T), expected, rtol=0.06, atol=2e-7)
