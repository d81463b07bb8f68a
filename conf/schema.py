"""Types and ranges of what conf/ holds, checked before TensorFlow is imported."""

from typing import Annotated, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

# What TensorFlow holds in an int32 and a float32.
Natural = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Share = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=1.2e-38, le=3.4e38)]
NotNegative = Annotated[float, Field(ge=0, le=3.4e38)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Size = Count | Annotated[list[Count], Field(min_length=2, max_length=2)]
Finite = Annotated[float, Field(ge=-3.4e38, le=3.4e38)]
Range = Annotated[list[NotNegative], Field(min_length=2, max_length=2)]
Shift = Natural | NotNegative | Annotated[list[Natural | Finite], Field(min_length=1)]


class ConfigError(Exception):
    """A value in the configuration that cannot be; the text says what would be right."""


def node(**fields):
    """The schema of one node: these keys, of these types, and no others."""
    required = {name: (kind, ...) for name, kind in fields.items()}
    return create_model("Node", __config__=ConfigDict(strict=True, extra="forbid"), **required)


# Where the targets of a group lie.
GROUPS = {
    "data": ("resnet.data.",),
    "model": ("resnet.models.",),
    "optimizer": ("keras.optimizers.", "resnet.training.optimizers."),
    "augmentation": ("resnet.augmentation.",),
    "schedule": ("resnet.training.schedules.",),
    "trainer": ("resnet.training.",),
}
PLACES = {**GROUPS, "trainer.plateau": ("resnet.training.schedules.Plateau",)}
SOURCE = {
    "train_size": Count | None,
    "test_size": Count | None,
    "validation_split": Share,
    "normalization": Literal["pixel_mean", "channel"],
    "seed": Natural,
}
CONVOLUTION = {"conv_bias": bool, "l2": NotNegative}
NORMALIZATION = {"bn_momentum": Share, "bn_epsilon": Positive}
PLAIN = {
    **CONVOLUTION,
    **NORMALIZATION,
    "padding": Literal["same", "symmetric"],
    "stage": Literal["looped", "unrolled"],
    "recompute": bool,
}
RESNET = {
    **PLAIN,
    "shortcut": Literal["projection", "projection_bn", "identity"],
    "zero_init": bool,
    "survival": Annotated[float, Field(gt=0, le=1)],
}
CIFAR = {
    "depth": Count,
    "filters": Annotated[list[Count], Field(min_length=3, max_length=3)],
    "strides": Annotated[list[Count], Field(min_length=4, max_length=4)],
}
STRIDED_CONV = {"strided_conv": Literal["1x1", "3x3"]}
STEM = {"stem": Literal["imagenet", "cifar"]}
SCHEMAS: dict[str, type[BaseModel]] = {
    "resnet.data.cifar10": node(dir=str, **SOURCE),
    "resnet.data.cifar100": node(dir=str, labels=Literal["fine", "coarse"], **SOURCE),
    "resnet.data.digits": node(**SOURCE),
    "resnet.data.image_folder": node(
        dir=str,
        image_size=Size,
        channels=Literal[1, 3],
        resize=Literal["crop", "stretch"],
        test_split=Fraction,
        skip_unreadable=bool,
        **SOURCE,
    ),
    "resnet.data.npz": node(file=str, test_split=Fraction, **SOURCE),
    "resnet.data.synthetic": node(
        image_size=Size,
        channels=Count,
        classes=Annotated[int, Field(ge=2)],
        train_images=Count,
        test_images=Count,
        **SOURCE,
    ),
    "resnet.models.plain": node(**CIFAR, **PLAIN),
    "resnet.models.resnet_v1": node(**CIFAR, **RESNET),
    "resnet.models.resnet_v2": node(**CIFAR, **STRIDED_CONV, **RESNET),
    "resnet.models.plain_imagenet": node(depth=Literal[18, 34], **STEM, **PLAIN),
    "resnet.models.resnet_imagenet": node(
        depth=Literal[18, 34, 50, 101, 152, 200],
        version=Literal[1, 2],
        strided_block=Literal["first", "last"],
        **STEM,
        **STRIDED_CONV,
        **RESNET,
    ),
    "resnet.models.vgg": node(
        depth=Literal[11, 13, 16, 19],
        head=Literal["cifar", "imagenet"],
        batch_norm=bool,
        dropout=Share,
        **CONVOLUTION,
        **NORMALIZATION,
    ),
    "resnet.training.optimizers.Adam": node(
        learning_rate=Positive, beta_1=Share, beta_2=Share, epsilon=Positive
    ),
    "resnet.training.optimizers.AdamW": node(
        learning_rate=Positive, weight_decay=NotNegative, beta_1=Share, beta_2=Share, epsilon=Positive
    ),
    "resnet.training.optimizers.Muon": node(
        learning_rate=Positive,
        momentum=Share,
        nesterov=bool,
        weight_decay=NotNegative,
        beta_1=Share,
        beta_2=Share,
        epsilon=Positive,
    ),
    "keras.optimizers.SGD": node(
        learning_rate=Positive, momentum=Share, nesterov=bool, weight_decay=NotNegative | None
    ),
    "resnet.augmentation.none": node(),
    "resnet.augmentation.shift_flip": node(shift=Share, flip=bool),
    "resnet.augmentation.crop_flip": node(padding=Natural, fill=Literal["zeros", "reflect"], flip=bool),
    "resnet.augmentation.alternating_flip": node(seed=Natural),
    "resnet.augmentation.cutout": node(size=Count),
    "resnet.augmentation.mixup": node(alpha=Positive),
    "resnet.augmentation.cutmix": node(alpha=Positive),
    "resnet.augmentation.randaugment": node(
        operations=Natural, magnitude=Annotated[float, Field(ge=0, le=10)]
    ),
    "resnet.augmentation.in_order": node(transforms=list[dict]),
    "resnet.augmentation.image_data_generator": node(
        rotation_range=NotNegative,
        width_shift_range=Shift,
        height_shift_range=Shift,
        shear_range=NotNegative,
        zoom_range=Share | Range,
        channel_shift_range=NotNegative,
        brightness_range=Range | None,
        horizontal_flip=bool,
        vertical_flip=bool,
        fill_mode=Literal["nearest", "constant", "reflect", "wrap"],
        cval=Finite,
        rescale=Positive | None,
        samplewise_center=bool,
        samplewise_std_normalization=bool,
        featurewise_center=bool,
        featurewise_std_normalization=bool,
        zca_whitening=bool,
        zca_epsilon=Positive,
    ),
    "resnet.training.schedules.Constant": node(),
    "resnet.training.schedules.Steps": node(boundaries=list[Positive], factors=list[Positive]),
    "resnet.training.schedules.Cosine": node(epochs=Positive, final=Factor),
    "resnet.training.schedules.OneCycle": node(
        epochs=Positive, peak=Share, start=Factor, final=Factor, fall=Literal["linear", "cosine"]
    ),
    "resnet.training.schedules.Warmup": node(
        schedule=dict, epochs=Positive, factor=Share, rise=Literal["constant", "linear"]
    ),
    "resnet.training.schedules.Plateau": node(
        factor=Fraction,
        patience=Count,
        cooldown=Natural,
        min_delta=NotNegative,
        min_lr=NotNegative,
    ),
    "resnet.training.distribution.single": node(),
    "resnet.training.distribution.cores": node(replicas=Count | None),
    "resnet.training.distribution.mirrored": node(devices=list[str] | None),
    "resnet.training.distribution.multi_worker": node(
        resolver=Literal["tf_config", "slurm"],
        port=Annotated[int, Field(ge=1, lt=2**16)],
        start_seconds=Positive | Count,
    ),
    "resnet.training.trainer.Trainer": node(
        epochs=Count,
        batch_size=Count,
        max_steps=Count | None,
        precision=Literal["float32", "bfloat16", "auto"],
        plateau=dict | None,
        deterministic=bool,
        watch=Literal["validation", "test"],
        final_weights=Literal["last", "best", "average"],
        average_from=Share,
        strategy=dict,
        synchronize_batch_norm=bool,
        scale_rate_from=Count | None,
        seed=Natural,
    ),
}
CONFIG = node(
    seed=Natural,
    threads=Count | None,
    changes=Literal["refuse", "allow"],
    **dict.fromkeys([*GROUPS, "loss", "metrics", "callbacks"], dict),
)
LAYERS_PER_STAGE = {"resnet.models.plain": 6, "resnet.models.resnet_v1": 6, "resnet.models.resnet_v2": 9}


def check(config: DictConfig) -> None:
    """Raise ConfigError for the first key or value that cannot be. Targets not listed are not checked."""
    tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    _validate("", CONFIG, tree)
    for group in GROUPS:
        check_node(group, tree[group])


def check_node(path: str, values: dict) -> None:
    """Raise ConfigError for the first key or value of the node at `path` that cannot be."""
    for key, value in values.items():
        for name, part in _parts(f"{path}.{key}", value):
            check_node(name, part)
    target = values.get("_target_")
    if not isinstance(target, str):
        raise ConfigError(f"{path}._target_: it says what to build, and is missing")
    if target in SCHEMAS:
        places = PLACES.get(path, ("",))
        if not target.startswith(places):
            raise ConfigError(f"{path}._target_={target}: expected {' or '.join(places)}...")
        _validate(f"{path}.", SCHEMAS[target], {k: v for k, v in values.items() if k != "_target_"})
    if target in LAYERS_PER_STAGE:
        _check_depth(path, values["depth"], LAYERS_PER_STAGE[target])
    if values.get("recompute") and values["stage"] != "looped":
        raise ConfigError(f"{path}.recompute=true needs {path}.stage=looped")
    if target == "resnet.training.schedules.Steps":
        _check_steps(path, values)
    if values.get("profile") and values["profile"][0] >= values["profile"][1]:
        raise ConfigError(f"{path}.profile={values['profile']}: expected the first step before the last")


def _validate(prefix, schema, values):
    """Raise ConfigError for the first key at fault: what it is given as, and any kind it could be."""
    try:
        schema.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        key = faults[0]["loc"][0]
        wishes = dict.fromkeys(fault["msg"].lower() for fault in faults if fault["loc"][0] == key)
        given = "" if faults[0]["type"] == "missing" else f"={values[key]}"
        raise ConfigError(f"{prefix}{key}{given}: {', or '.join(wishes)}") from error


def _parts(path, value):
    """The nodes in a value, itself or the members of a list, with their paths."""
    members = enumerate(value) if isinstance(value, list) else []
    named = [(path, value), *((f"{path}.{i}", member) for i, member in members)]
    return [(name, part) for name, part in named if isinstance(part, dict)]


def _check_depth(path, depth, layers):
    n = (depth - 2) // layers
    if n < 1 or (depth - 2) % layers:
        nearest = " and ".join(str(layers * k + 2) for k in (n, n + 1) if k >= 1)
        raise ConfigError(f"{path}.depth={depth}: depth is {layers}n+2; nearest: {nearest}")


def _check_steps(path, values):
    boundaries = values["boundaries"]
    if len(boundaries) != len(values["factors"]) or boundaries != sorted(set(boundaries)):
        raise ConfigError(f"{path}: boundaries must rise, with one of factors for each")
