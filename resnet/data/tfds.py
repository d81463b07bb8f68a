"""Any classification set of TensorFlow Datasets, by its name."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet.data.dataset import Dataset, make_dataset, source
from resnet.data.encoded import Encoded
from resnet.data.picture import read_picture
from resnet.errors import UserError, first_line


@source
def tfds(
    name: str = "beans",
    dir: str | Path | None = None,
    image_size: int | Sequence[int] = 32,
    channels: int = 3,
    resize: str = "crop",
    test_split: float | None = 0.2,
    *,
    seed: int = 0,
    **options: Any,
) -> Dataset:
    """The pictures of `tensorflow_datasets.builder(name)`, downloaded and prepared in `dir` at need.

    Args:
        name: of a set, as `oxford_flowers102` or `imagenet_v2/matched-frequency`.
        dir: where such sets are kept; None for the place that TensorFlow Datasets has for them.
        image_size, channels, resize: see `image_folder`.
        test_split: fraction of each class for testing, drawn by `seed`, where the set has train alone.

    Its `validation` is for testing where there is no `test`. It is read from files that give each record by
    number. Raises UserError where TensorFlow Datasets is not installed, or does not know the set, and for
    one without train, one image and one class label.
    """
    builder, image, label = _prepared(name, dir)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    how = {"image_size": (height, width), "channels": channels, "resize": resize}
    parts: dict[str, Any] = {"test": None}
    for part in ("train", "validation", "test"):
        if part in builder.info.splits:
            parts[part] = _part(builder, part, image, label, how)
    if parts["test"] is None and "validation" in parts:
        parts["test"] = parts.pop("validation")
    names = builder.info.features[label].names
    return make_dataset(**parts, class_names=names, test_split=test_split, seed=seed, **options)


def _prepared(name, dir):
    """The builder of the set, with what its image and its class label are called."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise UserError(
            "data=tfds needs TensorFlow Datasets: pip install tensorflow-datasets array-record"
        ) from error
    try:
        builder = tensorflow_datasets.builder(name, data_dir=dir and str(dir), file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:  # each set has its own
        raise UserError(f"data.name={name}: TensorFlow Datasets: {first_line(error)}") from error
    kinds = tensorflow_datasets.features
    features = builder.info.features.items()
    images = [key for key, feature in features if isinstance(feature, kinds.Image)]
    labels = [key for key, feature in features if isinstance(feature, kinds.ClassLabel)]
    if len(images) != 1 or len(labels) != 1 or "train" not in builder.info.splits:
        has, splits = (", ".join(names) for names in (builder.info.features, builder.info.splits))
        raise UserError(
            f"data.name={name}: it has {has} in {splits}; expected one image and one class label, and train"
        )
    return builder, images[0], labels[0]


def _part(builder, split, image, label, how):
    import tensorflow_datasets

    skip = {image: tensorflow_datasets.decode.SkipDecoding()}
    records = builder.as_data_source(split=split, decoders=skip)
    labels = np.array([record[label] for record in records], np.int32)
    names = [f"{split} {i}" for i in range(len(labels))]
    return Encoded(
        place=Path(builder.info.name) / split,
        image_shape=(*how["image_size"], how["channels"]),
        labels=labels,
        names=np.array(names, object),
        read=lambda i, doubt: read_picture(
            io.BytesIO(records[i][image]), **how, doubt=lambda _, text: doubt(text)
        ),
        marks=lambda: [f"{builder.info.full_name} {split} {len(labels)}", str(how)],
        paths=names,
    )
