import numpy as np
import pytest

from resnet.errors import UserError
from resnet.models.convert import from_torch


def torch_resnet(depth, filters=(16, 32, 64), classes=10):
    """A CIFAR ResNet with option A shortcuts as a torch.nn.Module, with random weights and statistics."""
    import torch
    from torch import nn
    from torch.nn import functional as f

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.stride, self.added = stride, outputs - inputs

        def forward(self, x):
            y = self.bn2(self.conv2(f.relu(self.bn1(self.conv1(x)))))
            short = x[:, :, :: self.stride, :: self.stride]
            return f.relu(y + f.pad(short, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2)))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, filters[0], 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(filters[0])
            inputs = filters[0]
            for stage, outputs in enumerate(filters, 1):
                blocks = []
                for i in range((depth - 2) // 6):
                    blocks.append(Block(inputs, outputs, 2 if stage > 1 and i == 0 else 1))
                    inputs = outputs
                setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            self.linear = nn.Linear(filters[-1], classes)

        def forward(self, x):
            x = f.relu(self.bn1(self.conv1(x)))
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.linear(x.mean((2, 3)))

    torch.manual_seed(0)
    network = Network().eval()
    for name, values in network.state_dict().items():
        if "bn" in name and values.is_floating_point():
            values.uniform_(0.5, 1.5)
    return network


def arrays(network):
    return {name: values.numpy() for name, values in network.state_dict().items()}


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("torch")
    return torch_resnet(20)


def assert_same_logits(path, network, size=32):
    import torch

    images = np.random.default_rng(0).normal(size=(4, size, size, 3)).astype("float32")
    with torch.no_grad():
        expected = network(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    found = from_torch(path, images.shape[1:])(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [32, 29])
def test_npz_gives_the_logits_of_pytorch(network, size, tmp_path):
    np.savez(tmp_path / "weights.npz", **arrays(network))
    assert_same_logits(tmp_path / "weights.npz", network, size)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_gives_the_logits_of_pytorch(network, prefix, tmp_path):
    save = pytest.importorskip("safetensors.torch").save_file
    state = {prefix + name: values for name, values in network.state_dict().items()}
    save(state, tmp_path / "weights.safetensors")
    assert_same_logits(tmp_path / "weights.safetensors", network)


def test_depth_filters_and_classes_are_read_from_the_arrays(tmp_path):
    pytest.importorskip("torch")
    network = torch_resnet(32, filters=(8, 24, 40), classes=3)
    np.savez(tmp_path / "weights.npz", **arrays(network))
    assert_same_logits(tmp_path / "weights.npz", network)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("layer2.1.bn1.running_var"), "no layer2.1.bn1.running_var"),
        (
            lambda state: state.update({"layer2.0.shortcut.0.weight": np.zeros(1)}),
            "layer2.0.shortcut.0.weight",
        ),
        (lambda state: state.update({"layer2.0.conv2.weight": np.zeros([1, 1, 3, 3])}), "shapes"),
        (lambda state: state.clear(), "no linear.bias"),
        (lambda state: state.update({"conv1.weight": np.array([{}])}), "cannot be read"),
    ],
    ids=["missing", "too many", "shape", "empty", "pickle"],
)
def test_other_files_are_refused(network, change, words, tmp_path):
    state = arrays(network)
    change(state)
    np.savez(tmp_path / "weights.npz", **state)
    with pytest.raises(UserError, match=words):
        from_torch(tmp_path / "weights.npz")


@pytest.mark.parametrize("name", ["weights.pth", "weights.npz", "weights.safetensors"])
def test_broken_files_are_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"\x80\x05not an archive")
    with pytest.raises(UserError, match=name):
        from_torch(tmp_path / name)
