"""The networks that PyTorch's timm has too: its weights, copied across, give its outputs."""

import re

import numpy as np
import pytest

from resnet.models import resnet_imagenet, stack, unstack
from resnet.models.normalizer_free import GAINS
from tests.test_applications import SHAPE, assert_same_logits

THEIR_LAYERS = [  # of timm's ResNets, with the parts of their names that are ours
    (r"layer(\d)\.(\d+)\.(conv|bn)(\d)", "stage{0}_block{b}_{2}{3}"),
    (r"layer(\d)\.(\d+)\.downsample\.(0|1|2)", "stage{0}_block{b}_shortcut"),
    (r"layer(\d)\.(\d+)\.se\.fc(\d)", "stage{0}_block{b}_se"),
    (r"(conv|bn)1", "stem_{0}"),
    (r"fc", "logits"),
]
DEEP_STEM = {"conv1.0": "stem_conv1", "conv1.1": "stem_bn1", "conv1.3": "stem_conv2", "conv1.4": "stem_bn2"}
DEEP_STEM |= {"conv1.6": "stem_conv3", "bn1": "stem_bn3", "maxpool.0": "stem_conv4", "maxpool.1": "stem_bn4"}
OUR_PARTS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def our_weight(name, array, deep):
    """Our name of a weight of theirs, and its array with our axes."""
    layer, _, part = name.rpartition(".")
    if deep and layer in DEEP_STEM:
        ours = DEEP_STEM[layer]
    else:
        found, form = next((m, f) for p, f in THEIR_LAYERS if (m := re.fullmatch(p, layer)))
        groups = found.groups()
        ours = form.format(*groups, b=int(groups[1]) + 1 if len(groups) > 1 else 0)
    if ours.endswith("_se"):  # dense layers, as convolutions
        kind = "kernel" if part == "weight" else "bias"
        return f"{ours}/{kind}{layer[-1]}", array.reshape(array.shape[:2]).T
    if array.ndim == 4:
        return f"{ours}/kernel", array.transpose(2, 3, 1, 0)
    if array.ndim == 2:
        return f"{ours}/kernel", array.T
    if ours == "logits":
        return f"{ours}/bias", array
    return f"{ours}{'_bn' if ours.endswith('shortcut') else ''}/{OUR_PARTS[part]}", array


D = {"stem": "deep", "shortcut": "pooled"}
RS = {"stem": "deep_strided", "shortcut": "pooled", "attention": "se", "attention_reduction": 4}


@pytest.mark.parametrize(
    ("name", "depth", "options"),
    [
        ("resnet18", 18, {}),
        ("resnext50_32x4d", 50, {"cardinality": 32, "group_width": 4}),
        ("resnetrs50", 50, RS),
        pytest.param("seresnet50", 50, {"attention": "se"}, marks=pytest.mark.slow),
        pytest.param("resnet50d", 50, D, marks=pytest.mark.slow),
    ],
)
def test_timms_resnets(name, depth, options):
    theirs = timms(name)
    ours = resnet_imagenet(SHAPE, 10, depth, **options)
    deep = "stem" in options
    state = {n: a for n, a in weights_of(theirs).items() if not n.endswith("num_batches_tracked")}
    stack(ours, dict(our_weight(n, a, deep) for n, a in state.items()))
    assert_same_logits(images_last(theirs), ours)


def timms(name, **options):
    """A network of timm's in inference, with no weight left at 0 or 1."""
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **options).eval()
    for parameter in [*model.parameters(), *model.buffers()]:
        if parameter.ndim <= 1 and parameter.is_floating_point():
            parameter.data.uniform_(0.5, 1.5) if parameter.ndim else parameter.data.fill_(0.5)
    return model


def weights_of(model):
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def images_last(model):
    """The model as a function of images `(N, H, W, C)`."""
    import torch

    def predict(images):
        with torch.no_grad():
            return model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))

    return predict


THEIR_GAIN = 1.7139588594436646  # of a ReLU, measured; the paper's formula gives 1.7129


def test_timms_normalizer_free_resnet():
    """Ours has a factor for each branch besides, and no ReLU's gain in the stem, as images are no ReLU's."""
    theirs = timms("nf_resnet50")
    for name, parameter in theirs.named_parameters():
        if name.endswith("gain"):
            parameter.data.uniform_(0.5, 1.5)
        elif parameter.ndim == 4:
            parameter.data *= 100  # of no effect, but that their epsilon has none
    theirs.stem.conv.bias.data += 20  # above 0, the pool's padding with zeros is theirs with -inf
    options = {
        "version": 2,
        "residual": "normalizer_free",
        "norm": "none",
        "shortcut": "pooled",
        "conv_bias": True,
    }
    ours = resnet_imagenet(SHAPE, 10, 50, **options)
    weights = {}
    for name, value in weights_of(theirs).items():
        layer, _, part = name.rpartition(".")
        place = re.fullmatch(r"stages\.(\d)\.(\d+)\.(?:(conv\d)|downsample\.conv)", layer)
        layer = {"stem.conv": "stem_conv", "head.fc": "logits"}.get(layer) or (
            f"stage{int(place[1]) + 1}_block{int(place[2]) + 1}_{place[3] or 'shortcut'}"
        )
        value = value.reshape(-1) if part == "gain" else value
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        weights[f"{layer}/{part.replace('weight', 'kernel')}"] = value.copy()
        if part == "gain":
            weights[f"{layer}/gain"] *= THEIR_GAIN / (1.0 if layer == "stem_conv" else GAINS["relu"])
    before = unstack(ours)
    assert {name.split("/")[1] for name in before.keys() - weights} == {"factor", "deviation"}
    factors = {name: np.ones_like(value) for name, value in before.items() if name.endswith("factor")}
    stack(ours, before | factors | weights)
    assert_same_logits(images_last(theirs), ours)
