"""The network and recipe of airbench94_muon (Jordan 2024) in PyTorch, for a CPU: channels last, bfloat16."""

import torch
from torch import nn
from torch.nn import functional

EPOCHS, BATCH, SMOOTHING = 8, 2000, 0.2
KERNEL_RATE, MOMENTUM = 0.24, 0.6
BIAS_RATE, HEAD_RATE, OTHERS_MOMENTUM, DECAY = 0.053, 0.67, 0.85, 2e-6 * BATCH
WHITENING_EPOCHS = 3  # in which the bias of the whitened layer is trained
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def norm(channels):
    layer = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    layer.weight.requires_grad = False
    return layer


def conv(inputs, filters):
    layer = nn.Conv2d(inputs, filters, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[:inputs])
    return layer


def group(inputs, filters):
    first, second = conv(inputs, filters), conv(filters, filters)
    return [first, nn.MaxPool2d(2), norm(filters), nn.GELU(), second, norm(filters), nn.GELU()]


class Airbench(nn.Module):
    def __init__(self, images):
        super().__init__()
        self.whitened = nn.Conv2d(3, 24, 2)
        self.whitened.weight.requires_grad = False
        self.whitened.weight.data[:] = whitening(images)
        nn.init.zeros_(self.whitened.bias)
        layers = [nn.GELU(), *group(24, 64), *group(64, 256), *group(256, 256), nn.MaxPool2d(3), nn.Flatten()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(256, 10, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x):
        features = self.layers(self.whitened(x))
        return self.head(features) / features.size(1)


def whitening(images):
    patches = images.float().unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    variances, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = vectors.T.reshape(-1, 3, 2, 2) / torch.sqrt(variances.view(-1, 1, 1, 1) + 5e-4)
    return torch.cat((filters, -filters))


def orthogonalize(matrix):
    x = matrix.bfloat16()
    x /= x.norm() + 1e-7
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    for _ in range(3):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def prepared(images):
    """uint8 `(N, H, W, C)` as the network sees them."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    return x.bfloat16().contiguous(memory_format=torch.channels_last)


def cropped(images, reach=2):
    """Each moved by up to two pixels, over its mirrored surroundings."""
    size = images.shape[2]
    padded, found = functional.pad(images, (reach,) * 4, "reflect"), torch.empty_like(images)
    moves = torch.randint(-reach, reach + 1, (len(images), 2))
    for y in range(2 * reach + 1):
        for x in range(2 * reach + 1):
            chosen = (moves[:, 0] == y - reach) & (moves[:, 1] == x - reach)
            found[chosen] = padded[chosen, :, y : y + size, x : x + size]
    return found


def logits(network, images):
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return torch.cat([network(batch).float() for batch in images.split(1000)])


def accuracies(network, images, labels, with_views):
    """Plain, and of six views or None."""
    plain = logits(network, images)
    found = [plain, views(network, images, plain) if with_views else None]
    return [of if of is None else (of.argmax(1) == labels).float().mean().item() for of in found]


def views(network, images, plain):
    """Logits, summed over six views: a picture and its moves by a pixel, each with its mirror image."""
    padded = functional.pad(images, (1,) * 4, "reflect")
    moved = padded[:, :, :-2, :-2], padded[:, :, 2:, 2:]
    found = 2 * (plain + logits(network, images.flip(-1)))
    return found + sum(logits(network, view) + logits(network, view.flip(-1)) for view in moved)


def train(train_images, train_labels, test_images, test_labels, seed, trained, scored):
    """All epochs; after each `trained()`, then `scored(plain, views)`, accuracies of the test images.

    The latter is None but after the last epoch.
    """
    torch.manual_seed(seed)
    images, labels = prepared(train_images), torch.from_numpy(train_labels).long()
    test_images, test_labels = prepared(test_images), torch.from_numpy(test_labels).long()
    network = Airbench(images[:5000]).to(memory_format=torch.channels_last)
    kernels = [p for p in network.layers.parameters() if p.ndim == 4]
    biases = [p for p in network.layers.parameters() if p.ndim == 1 and p.requires_grad]
    momentums = [torch.zeros_like(kernel) for kernel in kernels]
    rates = [BIAS_RATE, BIAS_RATE, HEAD_RATE]
    others = [[network.whitened.bias], biases, [network.head.weight]]
    sgd = torch.optim.SGD(
        [
            {"params": of, "lr": rate, "weight_decay": DECAY / rate}
            for of, rate in zip(others, rates, strict=True)
        ],
        momentum=OTHERS_MOMENTUM,
        nesterov=True,
    )
    per_epoch = len(images) // BATCH
    ends = [WHITENING_EPOCHS * per_epoch, EPOCHS * per_epoch, EPOCHS * per_epoch]
    flipped, step = torch.rand(len(images)) < 0.5, 0
    for epoch in range(EPOCHS):
        network.train()
        now = flipped if epoch % 2 == 0 else ~flipped
        shown = cropped(torch.where(now.view(-1, 1, 1, 1), images.flip(-1), images))
        shown = shown.contiguous(memory_format=torch.channels_last)
        for chosen in torch.randperm(len(images)).split(BATCH)[:per_epoch]:
            network.whitened.bias.requires_grad = step < ends[0]
            with torch.autocast("cpu", torch.bfloat16):
                found = network(shown[chosen])
            loss = functional.cross_entropy(
                found.float(), labels[chosen], label_smoothing=SMOOTHING, reduction="sum"
            )
            sgd.zero_grad(set_to_none=True)
            for kernel in kernels:
                kernel.grad = None
            loss.backward()
            for part, rate, end in zip(sgd.param_groups, rates, ends, strict=True):
                part["lr"] = rate * max(0, 1 - step / end)
            sgd.step()
            move(kernels, momentums, KERNEL_RATE * (1 - step / ends[1]))
            step += 1
        trained()
        scored(*accuracies(network, test_images, test_labels, with_views=epoch + 1 == EPOCHS))


@torch.no_grad()
def move(kernels, momentums, rate):
    """A step of Muon on kernels of one norm."""
    for kernel, momentum in zip(kernels, momentums, strict=True):
        momentum.mul_(MOMENTUM).add_(kernel.grad)
        direction = orthogonalize((kernel.grad + MOMENTUM * momentum).reshape(len(kernel), -1))
        kernel.mul_(len(kernel) ** 0.5 / kernel.norm())
        kernel.add_(direction.view(kernel.shape).float(), alpha=-rate)
