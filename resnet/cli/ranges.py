"""What each option may be, by its name, and what may be built where; free of TensorFlow.

A name has one range wherever it stands. Where it means another thing to some target, ELSEWHERE says so.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import NotRequired, TypedDict

# What TensorFlow holds in an int32 and a float32.
Natural = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Share = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=1.2e-38, le=3.4e38)]
NotNegative = Annotated[float, Field(ge=0, le=3.4e38)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Part = Annotated[float, Field(gt=0, le=1)]
Size = Count | Annotated[list[Count], Field(min_length=2, max_length=2)]
Finite = Annotated[float, Field(ge=-3.4e38, le=3.4e38)]
Range = Annotated[list[NotNegative], Field(min_length=2, max_length=2)]
Channels = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]
Shift = Natural | NotNegative | Annotated[list[Natural | Finite], Field(min_length=1)]


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class Group(TypedDict):
    """Of weights, as an optimizer takes it."""

    match: str
    rate_factor: NotRequired[NotNegative]
    weight_decay: NotRequired[NotNegative]


RANGES: dict[str, Any] = {
    # of the whole run
    "seed": Natural,
    "threads": Count | None,
    "changes": Literal["refuse", "allow"],
    "memory_gb": Positive | None,
    # of data
    "dir": str,
    "file": str,
    "name": str,
    "train_size": Count | None,
    "test_size": Count | None,
    "validation_split": Share,
    "test_split": Fraction | None,
    "folds": Annotated[int, Field(ge=2)] | None,
    "fold": Natural,
    "balance": bool,
    "normalization": Literal["pixel_mean", "channel"],
    "label_noise": Share,
    "memory": Literal["auto", "resident", "streamed"],
    "shards": str,
    "labels": Literal["fine", "coarse"],
    "image_size": Size,
    "channels": Count,
    "resize": Literal["crop", "stretch"],
    "skip_unreadable": bool,
    "test_crop": Part,
    "views": Literal[1, 2, 6, 10],
    "originals": bool,
    "extra": bool,
    "corruptions": Annotated[list[str], Field(min_length=1)] | None,
    "classes": Annotated[list[str | int], Field(min_length=2)] | None,
    "train_images": Count,
    "test_images": Count,
    # of models
    "depth": Count,
    "filters": Annotated[list[Count], Field(min_length=3, max_length=3)],
    "branches": Annotated[list[Natural], Field(min_length=3, max_length=3)],
    "stem_filters": Count,
    "stem_size": Count,
    "stem_norm": bool,
    "logits_std": Positive | None,
    "out_filters": Annotated[list[Count], Field(min_length=3, max_length=3)],
    "strides": Annotated[list[Count], Field(min_length=4, max_length=4)],
    "version": Literal[1, 2],
    "stem": Literal["imagenet", "cifar", "deep", "deep_strided"],
    "head": Literal["cifar", "imagenet"],
    "norm": Literal["batch", "group", "layer", "none"],
    "activation": Literal["relu", "gelu", "silu"],
    "residual": Literal["standard", "zero_init", "rezero", "fixup", "normalizer_free"],
    "attention": Literal["none", "se", "cbam"],
    "attention_reduction": Count,
    "width": Count,
    "cardinality": Count,
    "group_width": Count,
    "growth": Count,
    "bottleneck": bool,
    "compression": Annotated[float, Field(gt=0, le=1)],
    "patch": Count,
    "scale_start": NotNegative,
    "dropout": Share,
    "shortcut": Literal["projection", "projection_bn", "pooled", "identity"],
    "strided_block": Literal["first", "last"],
    "strided_conv": Literal["1x1", "3x3"],
    "conv_bias": bool,
    "l2": NotNegative,
    "padding": Literal["same", "symmetric"],
    "bn_momentum": Share,
    "bn_epsilon": Positive,
    "layers": Annotated[list[Count], Field(min_length=4, max_length=4)],
    "gate_bias": Finite,
    "survival": Part,
    "stage": Literal["looped", "unrolled"],
    "recompute": bool,
    # of optimizers
    "learning_rate": Positive,
    "momentum": Share,
    "nesterov": bool,
    "normalize": bool,
    "others": Literal["adam", "sgd"],
    "others_momentum": Share,
    "weight_decay": NotNegative | None,
    "decay_of": Literal["kernels", "weights", "all"],
    "decoupled": bool,
    "groups": list[Group],
    "layer_decay": Part,
    "clipnorm": Positive | None,
    "global_clipnorm": Positive | None,
    "clipvalue": Positive | None,
    "lookahead_steps": Count | None,
    "lookahead_step_size": Part,
    "trust": Positive,
    "beta": Share,
    "beta_1": Share,
    "beta_2": Share,
    "epsilon": Positive,
    # of augmentation
    "transforms": list[dict],
    "shift": Share,
    "flip": bool,
    "fill": Literal["zeros", "reflect"],
    "size": Count,
    "alpha": Positive,
    "operations": Natural,
    "scale": Annotated[list[Part], Field(min_length=2, max_length=2)],
    "ratio": Annotated[list[Positive], Field(min_length=2, max_length=2)],
    "brightness": NotNegative,
    "contrast": NotNegative,
    "saturation": NotNegative,
    "deviation": NotNegative,
    "magnitude": Annotated[float, Field(ge=0, le=10)],
    "rotation_range": NotNegative,
    "width_shift_range": Shift,
    "height_shift_range": Shift,
    "shear_range": NotNegative,
    "zoom_range": Share | Range,
    "channel_shift_range": NotNegative,
    "brightness_range": Range | None,
    "horizontal_flip": bool,
    "vertical_flip": bool,
    "fill_mode": Literal["nearest", "constant", "reflect", "wrap"],
    "cval": Finite,
    "rescale": Positive | None,
    "samplewise_center": bool,
    "samplewise_std_normalization": bool,
    "featurewise_center": bool,
    "featurewise_std_normalization": bool,
    "zca_whitening": bool,
    "zca_epsilon": Positive,
    # of schedules
    "schedule": dict,
    "boundaries": list[Positive],
    "factors": list[Positive],
    "epochs": Positive,
    "peak": Share,
    "start": Factor,
    "final": Factor,
    "fall": Literal["linear", "cosine"],
    "factor": Share,
    "rise": Literal["constant", "linear"],
    # of training
    "batch_size": Count,
    "max_steps": Count | None,
    "precision": Literal["float32", "bfloat16", "float16", "auto"],
    "deterministic": bool,
    "watch": Literal["validation", "test"],
    "final_weights": Literal["last", "best", "average", "ema"],
    "average_from": Share,
    "ema_decay": Share,
    "accumulate_steps": Count,
    "sam_rho": Positive | None,
    "sam_adaptive": bool,
    "synchronize_batch_norm": bool,
    "scale_rate_from": Count | None,
    "plateau": dict | None,
    "patience": Count,
    "cooldown": Natural,
    "min_delta": NotNegative,
    "min_lr": NotNegative,
    "strategy": dict,
    "replicas": Count | None,
    "devices": list[str] | None,
    "resolver": Literal["tf_config", "slurm"],
    "port": Annotated[int, Field(ge=1, lt=2**16)],
    "start_seconds": Positive | Count,
    # of losses
    "label_smoothing": Share,
    "gamma": NotNegative,
    "threshold": Share | None,
    "log_zero": Annotated[float, Field(ge=-3.4e38, lt=0)],
    "kind": Literal["hard", "soft"],
    "teacher": str,
    "temperature": Positive,
    # of where a network begins
    "run": str,
    "weights": Literal["final", "last", "best", "average", "ema"],
    "classifier": Literal["fitting", "new"],
    "identity": bool,
    "mean": Channels,
    "std": Channels,
    "parts": list[str],
    "statistics": bool,
    # of metrics and callbacks
    "k": Count,
    "bins": Count,
    "minutes": Positive,
    "keep": Count,
    "first_steps": Count,
    "every": Count,
    "tracking_uri": str | None,
    "experiment": str,
    "project": str,
    "entity": str | None,
    "mode": Literal["online", "offline", "disabled"],
    "log_model": bool,
    "steps": Annotated[list[Count], Field(min_length=2, max_length=2)],
    "low": Positive,
    "high": Positive,
    "smoothing": Share,
    "diverged": Annotated[float, Field(gt=1)],
    # of explanations
    "count": Count,
    "draws": Count,
    "batch": Count,
    "images": str | Annotated[list[str], Field(min_length=1)] | None,
    "mistakes": Count,
    "points": Count,
    "reach": Positive,
}

ELSEWHERE: dict[str, dict[str, Any]] = {
    "resnet.data.image_folder": {"channels": Literal[1, 3]},
    "resnet.data.synthetic": {"classes": Annotated[int, Field(ge=2)]},
    "resnet.init.imagenet": {"file": str | None},
    "resnet.data.tfds": {"channels": Literal[1, 3], "dir": str | None},
    "resnet.models.convnext": {"size": Literal["atto", "femto", "pico", "nano", "tiny", "small", "base"]},
    "resnet.models.densenet_imagenet": {"depth": Literal[121, 169, 201]},
    "resnet.models.highway": {"filters": Annotated[list[Count], Field(min_length=4, max_length=4)]},
    "resnet.models.plain_imagenet": {"depth": Literal[18, 34]},
    "resnet.models.resnet9": {"shortcut": Literal["identity", "none"]},
    "resnet.models.resnet_imagenet": {"depth": Literal[18, 34, 50, 101, 152, 200]},
    "resnet.models.vgg": {"depth": Literal[11, 13, 16, 19]},
    "resnet.augmentation.crop_flip": {"padding": Natural},
    "resnet.training.distillation.Distillation": {"alpha": Factor},
    "resnet.training.freezing.Freeze": {"epochs": Count | None},
    "resnet.training.losses.bootstrapped": {"beta": Factor},
    "resnet.training.losses.symmetric": {"beta": NotNegative},
    "resnet.training.schedules.Plateau": {"factor": Fraction},
    "resnet.training.trainer.Trainer": {"epochs": Count, "minutes": Positive | None},
}

# Whose values hold dicts that build nothing.
PLAIN = ("groups",)

# Where the targets lie that a node of this name may build, unless they are the user's own.
PLACES = {
    "data": ("resnet.data.",),
    "model": ("resnet.models.",),
    "optimizer": ("keras.optimizers.", "resnet.training.optimizers."),
    "augmentation": ("resnet.augmentation.",),
    "transforms": ("resnet.augmentation.",),
    "schedule": ("resnet.training.schedules.",),
    "loss": ("resnet.training.losses.", "resnet.training.distillation.", "keras.losses."),
    "init": ("resnet.init.",),
    "freeze": ("resnet.training.freezing.",),
    "trainer": ("resnet.training.trainer.",),
    "plateau": ("resnet.training.schedules.Plateau",),
    "strategy": ("resnet.training.distribution.",),
}
