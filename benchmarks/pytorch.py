"""The same networks, loss, optimizer and augmentation in PyTorch, written to be fast on a CPU."""

import torch
from torch import nn
from torch.nn import functional

STAGES = (16, 32, 64)
L2 = 1e-4


def conv(inputs, filters, size, stride=1, bias=True):
    layer = nn.Conv2d(inputs, filters, size, stride, padding=size // 2, bias=bias)
    nn.init.kaiming_normal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def projection(inputs, filters, stride):
    return nn.Identity() if stride == 1 and inputs == filters else conv(inputs, filters, 1, stride)


class BasicBlock(nn.Module):
    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.residual = nn.Sequential(
            conv(inputs, filters, 3, stride),
            norm(filters),
            nn.ReLU(inplace=True),
            conv(filters, filters, 3),
            norm(filters),
        )
        self.shortcut = projection(inputs, filters, stride)

    def forward(self, x):
        return functional.relu(self.residual(x) + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    def __init__(self, inputs, filters, outputs, stride, activated):
        super().__init__()
        first = [] if activated else [norm(inputs), nn.ReLU(inplace=True)]
        self.residual = nn.Sequential(
            *first,
            conv(inputs, filters, 1, stride),
            norm(filters),
            nn.ReLU(inplace=True),
            conv(filters, filters, 3),
            norm(filters),
            nn.ReLU(inplace=True),
            conv(filters, outputs, 1),
        )
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x):
        return self.residual(x) + self.shortcut(x)


def norm_relu(channels):
    return norm(channels), nn.ReLU(inplace=True)


class Residual(nn.Module):
    """A normalised branch beside a normalised projection, where one is needed, and ReLU after their sum."""

    def __init__(self, branch, inputs, outputs, stride):
        super().__init__()
        self.branch = nn.Sequential(*branch)
        same = stride == 1 and inputs == outputs
        projected = [] if same else [conv(inputs, outputs, 1, stride, bias=False), norm(outputs)]
        self.shortcut = nn.Sequential(*projected)

    def forward(self, x):
        return functional.relu(self.branch(x) + self.shortcut(x), inplace=True)


def basic(inputs, filters, stride):
    first, second = conv(inputs, filters, 3, stride, bias=False), conv(filters, filters, 3, bias=False)
    return [first, *norm_relu(filters), second, norm(filters)]


def bottleneck(inputs, filters, stride):
    first, second = conv(inputs, filters, 1, bias=False), conv(filters, filters, 3, stride, bias=False)
    last = conv(filters, 4 * filters, 1, bias=False)
    return [first, *norm_relu(filters), second, *norm_relu(filters), last, norm(4 * filters)]


IMAGENET = {18: ((2, 2, 2, 2), basic, 1), 50: ((3, 4, 6, 3), bottleneck, 4)}


def resnet_imagenet(depth, stem="imagenet", classes=10):
    counts, branch, expansion = IMAGENET[depth]
    first = [conv(3, 64, 7, 2, bias=False), *norm_relu(64), nn.MaxPool2d(3, 2, 1)]
    layers, channels = first if stem == "imagenet" else [conv(3, 64, 3, bias=False), *norm_relu(64)], 64
    for stage, count in enumerate(counts):
        filters = 64 * 2**stage
        for block in range(count):
            stride, outputs = 2 if stage and not block else 1, expansion * filters
            layers.append(Residual(branch(channels, filters, stride), channels, outputs, stride))
            channels = outputs
    return nn.Sequential(*layers, *head(channels, classes))


class WideBlock(nn.Module):
    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.first = nn.Sequential(*norm_relu(inputs))
        convs = conv(inputs, filters, 3, stride, bias=False), conv(filters, filters, 3, bias=False)
        self.residual = nn.Sequential(convs[0], *norm_relu(filters), convs[1])
        self.shortcut = None if inputs == filters else conv(inputs, filters, 1, stride, bias=False)

    def forward(self, x):
        y = self.first(x)
        return self.residual(y) + (x if self.shortcut is None else self.shortcut(y))


def wide_resnet(depth, width, classes=10):
    layers, channels = [conv(3, 16, 3, bias=False)], 16
    for stage, filters in enumerate(STAGES):
        for block in range((depth - 4) // 6):
            layers.append(WideBlock(channels, filters * width, 2 if stage and not block else 1))
            channels = filters * width
    return nn.Sequential(*layers, *norm_relu(channels), *head(channels, classes))


def head(channels, classes):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)


def resnet_v1(depth, classes=10):
    layers, channels = [conv(3, 16, 3), norm(16), nn.ReLU(inplace=True)], 16
    for filters in STAGES:
        for block in range((depth - 2) // 6):
            layers.append(BasicBlock(channels, filters, 2 if block == 0 and filters > 16 else 1))
            channels = filters
    return nn.Sequential(*layers, *head(channels, classes))


def resnet_v2(depth, classes=10):
    layers, filters, channels = [conv(3, 16, 3), norm(16), nn.ReLU(inplace=True)], 16, 16
    for stage, outputs in enumerate(4 * f for f in STAGES):
        for block in range((depth - 2) // 9):
            stride = 2 if block == 0 and stage > 0 else 1
            layers.append(Bottleneck(channels, filters, outputs, stride, activated=len(layers) == 3))
            channels = outputs
        filters = outputs
    return nn.Sequential(*layers, norm(channels), nn.ReLU(inplace=True), *head(channels, classes))


def adam(model, rate=1e-3):
    """Adam whose decay of the kernels is the gradient of L2 * w**2."""
    kernels = [p for p in model.parameters() if p.ndim == 4]
    others = [p for p in model.parameters() if p.ndim != 4]
    groups = [{"params": kernels, "weight_decay": 2 * L2}, {"params": others}]
    return torch.optim.Adam(groups, rate, eps=1e-7, fused=True)


def shift_flip(images, shift=0.1):
    """Continuous shifts, bilinear, the nearest edge repeated, and half of the images mirrored."""
    size, height, width = len(images), *images.shape[2:]
    y, x = shift * height * (2 * torch.rand(size, 1) - 1), shift * width * (2 * torch.rand(size, 1) - 1)
    rows = (torch.arange(height) + y).clamp(0, height - 1)
    columns = (torch.arange(width) + x).clamp(0, width - 1)
    columns = torch.where(torch.rand(size, 1) < 0.5, columns.flip(1), columns)
    images = _weights(rows, height)[:, None] @ images @ _weights(columns, width)[:, None].transpose(2, 3)
    return images.contiguous(memory_format=torch.channels_last)


def _weights(positions, size):
    return (1 - (positions[:, :, None] - torch.arange(size)).abs()).clamp(min=0)


def train(model, images, labels, mean, batch, *, bfloat16, compiled, step_done):
    """Train without end on uint8 images `(N, H, W, C)`; `step_done(images)` after each step."""
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = adam(model)
    images = torch.from_numpy(images).permute(0, 3, 1, 2)
    labels = torch.from_numpy(labels).long()
    mean = torch.from_numpy(mean).permute(2, 0, 1)

    def loss_of(pictures, target):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = model(pictures)
        return functional.cross_entropy(logits.float(), target), logits

    if compiled:
        loss_of = torch.compile(loss_of)
    while True:
        total = right = seen = 0
        for chosen in torch.randperm(len(images)).split(batch)[: len(images) // batch]:
            pictures, target = shift_flip(images[chosen] / 255 - mean), labels[chosen]
            loss, logits = loss_of(pictures, target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * batch
            right += (logits.detach().argmax(1) == target).sum()
            seen += batch
            step_done(batch)
        print(f"loss {total / seen:.4f} accuracy {right / seen:.4f}")
