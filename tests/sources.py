"""Files in the layouts that data sets are published in, with ten classes of made pictures."""

import gzip
import struct

import numpy as np
from PIL import Image
from scipy.io import savemat

from resnet.data import synthetic
from resnet.data.cinic10 import CLASSES

TRAIN, TEST = 300, 110
WHOLE = {"train_size": None, "test_size": None, "validation_split": 0.0, "normalization": "channel"}
WNIDS = [f"n{10_000_000 + 7 * i}" for i in range(10)]
WORDS = ["crane, a bird", "crane, a machine", *(f"thing {i}, stuff" for i in range(8))]
NAMES = ["crane, a bird", "crane, a machine", *(f"thing {i}" for i in range(8))]


def pictures(size=32, channels=3):
    """A Dataset of TRAIN and TEST pictures, which a network can learn."""
    return synthetic(size, channels, train_images=TRAIN, test_images=TEST, seed=1, **WHOLE)


def idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), 1))


def mnist(root):
    made = pictures(28, 1)
    for part, split in (("train", made.train), ("t10k", made.test)):
        idx(root / f"{part}-images-idx3-ubyte.gz", split.images[..., 0])
        idx(root / f"{part}-labels-idx1-ubyte.gz", split.labels)
    return made


def svhn(root):
    made = pictures()
    for part, split in (("train", made.train), ("test", made.test), ("extra", made.test)):
        labels = np.where(split.labels == 0, 10, split.labels)[:, None].astype(np.uint8)
        savemat(root / f"{part}_32x32.mat", {"X": np.moveaxis(split.images, 0, 3), "y": labels})
    return made


def stl10(root):
    made, folder = pictures(96), root / "stl10_binary"
    folder.mkdir()
    for part, split in (("train", made.train), ("test", made.test)):
        split.images.transpose(0, 3, 2, 1).tofile(folder / f"{part}_X.bin")
        (split.labels + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(f"class{i}" for i in range(10)))
    return made


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(
        path, **({"quality": 100, "subsampling": 0} if path.suffix == ".JPEG" else {})
    )


def tiny_imagenet(root):
    made, folder, lines = pictures(64), root / "tiny-imagenet-200", []
    for i, (image, label) in enumerate(zip(made.train.images, made.train.labels, strict=True)):
        write(folder / "train" / WNIDS[label] / "images" / f"{WNIDS[label]}_{i}.JPEG", image)
        (folder / "train" / WNIDS[label] / f"{WNIDS[label]}_boxes.txt").write_text("boxes")
    for i, (image, label) in enumerate(zip(made.test.images, made.test.labels, strict=True)):
        write(folder / "val" / "images" / f"val_{i}.JPEG", image)
        lines.append(f"val_{i}.JPEG\t{WNIDS[label]}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (folder / "words.txt").write_text("".join(f"{w}\t{n}\n" for w, n in zip(WNIDS, WORDS, strict=True)))
    return made


def cinic(root):
    made, folder = pictures(), root / "CINIC-10"
    for part, split in (("train", made.train), ("valid", made.test), ("test", made.test)):
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            write(folder / part / CLASSES[label] / f"{i:04}.png", image)
    (folder / "README.md").write_text("about")
    return made


def imagenet(root, kind="folders", size=40):
    """As they are unpacked, from Kaggle, or with the development kit: `folders`, `kaggle` or `devkit`."""
    made = pictures(size)
    top = root / "ILSVRC" / "Data" / "CLS-LOC" if kind == "kaggle" else root
    for i, (image, label) in enumerate(zip(made.train.images, made.train.labels, strict=True)):
        write(top / "train" / WNIDS[label] / f"{WNIDS[label]}_{i}.JPEG", image)
    for i, (image, label) in enumerate(zip(made.test.images, made.test.labels, strict=True)):
        folder = top / "val" / (WNIDS[label] if kind == "folders" else "")
        write(folder / f"ILSVRC2012_val_{i:08}.JPEG", image)
    if kind == "kaggle":
        rows = [f"ILSVRC2012_val_{i:08},{WNIDS[label]} 1 2 3 4 " for i, label in enumerate(made.test.labels)]
        (root / "LOC_val_solution.csv").write_text(
            "ImageId,PredictionString\n" + "\n".join(rows[::-1]) + "\n"
        )
        mapping = (f"{w} {n}\n" for w, n in zip(WNIDS, WORDS, strict=True))
        (root / "LOC_synset_mapping.txt").write_text("".join(mapping))
    if kind == "devkit":
        data = root / "ILSVRC2012_devkit_t12" / "data"
        data.mkdir(parents=True)
        fields = [("ILSVRC2012_ID", float), ("WNID", object), ("words", object), ("num_children", float)]
        number = np.random.default_rng(0).permutation(10) + 1  # the kit has an order of its own
        rows = [(number[i], WNIDS[i], WORDS[i], 0.0) for i in range(10)]
        above = [(11.0, "n00001740", "entity", 2.0)]
        savemat(data / "meta.mat", {"synsets": np.array([*rows, *above], fields)[:, None]})
        truth = "\n".join(str(number[label]) for label in made.test.labels)
        (data / "ILSVRC2012_validation_ground_truth.txt").write_text(truth + "\n")
    return made


MAKERS = {
    "mnist": mnist,
    "fashion_mnist": mnist,
    "svhn": svhn,
    "stl10": stl10,
    "tiny_imagenet": tiny_imagenet,
    "cinic10": cinic,
    "imagenet": imagenet,
}
