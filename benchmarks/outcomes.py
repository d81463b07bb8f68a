"""What `callbacks=[default,outcomes]` costs a training.

    python -m benchmarks.outcomes [--epochs 5] [--turns 5]

ResNet-20 on made-up pictures of CIFAR-10's size, batch 128, with the callback and without in alternate turns
of some epochs; the first epoch of a turn, which compiles, is left out. Gives images a second and their ratio.
"""

import argparse
import statistics

import resnet
from resnet.run.callbacks import Outcomes


def speed(data, epochs, callbacks):
    """Median images a second of the epochs after the first."""
    model = resnet.models.resnet_v1(data.image_shape, data.num_classes, depth=20)
    history = resnet.fit(model, data, epochs=1 + epochs, batch_size=128, callbacks=callbacks).history
    return statistics.median(record["time"]["images_per_second"] for record in history[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    resnet.prepare(precision="auto")
    data = resnet.data.synthetic(train_images=5120, test_images=10, validation_split=0.0)
    ratios = []
    for turn in range(options.turns):
        without = speed(data, options.epochs, [])
        found = speed(data, options.epochs, [Outcomes()])
        ratios.append(found / without)
        print(f"turn {turn + 1}: {without:,.0f} without, {found:,.0f} with, {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
