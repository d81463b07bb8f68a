"""Pictures of one's own: stripes that lie or stand."""

import numpy as np

from resnet.data.dataset import Split, make_dataset, source


@source
def stripes(images=300, image_size=16, *, seed=0, **options):
    """Noisy stripes in two directions, uint8 `(N, size, size, 3)`; a third of them for testing."""
    random = np.random.default_rng(seed)
    labels = np.arange(images, dtype=np.int32) % 2
    waves = 60 * np.sin(np.arange(image_size) * 1.5)
    pictures = np.where(labels[:, None, None] == 0, waves[:, None], waves[None, :])[..., None]
    pictures = 128 + pictures + random.normal(0, 40, (images, image_size, image_size, 3))
    whole = Split(pictures.clip(0, 255).astype(np.uint8), labels)
    return make_dataset(whole, None, ["lying", "standing"], test_split=1 / 3, seed=seed, **options)
