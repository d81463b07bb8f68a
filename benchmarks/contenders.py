"""Who is measured by throughput.py. Each trains without end, and says after each step what it did."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SIZE = 2048


class Network(NamedTuple):
    """One network of this project with its batch size, and the size of the pictures it is for."""

    title: str
    family: str
    batch: int
    options: dict
    size: int = 32

    def build(self, stage="looped"):
        from resnet import models

        return getattr(models, self.family)((self.size, self.size, 3), 10, stage=stage, **self.options)

    def flops(self):
        """Of a training step, an image."""
        from resnet.models.cost import training_flops

        return training_flops(self.build())


NETWORKS = {
    "resnet20": Network("ResNet-20 v1", "resnet_v1", 128, {"depth": 20}),
    "resnet110": Network("ResNet-110 v2", "resnet_v2", 64, {"depth": 110}),
    "resnet18": Network("ResNet-18, CIFAR stem", "resnet_imagenet", 128, {"depth": 18, "stem": "cifar"}),
    "wrn16": Network("WRN-16-8", "wide_resnet", 128, {"depth": 16, "width": 8}),
    "resnet50": Network("ResNet-50, 64 pixels", "resnet_imagenet", 64, {"depth": 50}, 64),
}


def load(network, directory, validation_split=0.0):
    """CIFAR-10; for larger pictures a part of it, each pixel repeated."""
    from resnet.data import cifar10
    from resnet.data.dataset import Split
    from resnet.data.normalization import measure

    repeats = network.size // 32
    dataset = cifar10(
        directory, validation_split=validation_split, seed=1, train_size=None if repeats == 1 else 10_000
    )
    if repeats == 1:
        return dataset
    larger = {
        name: Split(part.images.repeat(repeats, 1).repeat(repeats, 2), part.labels)
        for name, part in dataset.parts.items()
    }
    return replace(dataset, **larger, normalization=measure(larger["train"], "pixel_mean"))


def product(network, precision, directory, step_done):
    """What the cores can do: a matrix product, counted as the images whose training takes as many FLOP."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((SIZE, SIZE)), precision)
    images = 2 * SIZE**3 / network.flops()
    while True:
        tf.matmul(matrix, matrix)
        step_done(images)


def bare(network, precision, directory, step_done):
    """The same network, loss and optimizer on one batch in memory: nothing but steps."""
    import keras
    import tensorflow as tf

    from resnet import prepare
    from resnet.training.optimizers import Adam
    from resnet.training.trainer import STEPS_PER_CALL

    prepare(precision=precision)
    dataset, model, optimizer = load(network, directory), network.build(), Adam(1e-3)
    optimizer.build(model.trainable_variables)
    images = tf.constant(dataset.normalization(dataset.train.images[: network.batch].astype("float32")))
    labels = tf.constant(dataset.train.labels[: network.batch])
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = max(1, int(STEPS_PER_CALL * 2.6e8 / network.flops()))

    @tf.function(jit_compile=False)
    def train():
        for _ in tf.range(steps):
            with tf.GradientTape() as tape:
                loss = loss_of(labels, model(images, training=True)) + tf.add_n(model.losses)
            variables = model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    while True:
        train()
        step_done(steps * network.batch)


def trainer(network, precision, directory, step_done, strategy="single"):
    """This project: metrics, callbacks and logs as in train.py."""
    import resnet
    from resnet.augmentation import shift_flip
    from resnet.run import callbacks
    from resnet.training import distribution
    from resnet.training.optimizers import Adam
    from resnet.training.schedules import Plateau

    class Report(callbacks.Callback):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            step_done((self.trainer.step - self.done) * network.batch)
            self.done = self.trainer.step

    resnet.prepare(precision=precision)
    dataset = load(network, directory, validation_split=0.1)
    training = resnet.Trainer(
        batch_size=network.batch,
        precision=precision,
        plateau=Plateau(),
        strategy=getattr(distribution, strategy)(),
    )
    with training.scope():
        model, optimizer = network.build(), Adam(1e-3)
    kept = {
        "checkpoints": callbacks.Checkpoints(),
        "tensorboard": callbacks.TensorBoard(),
        "csv": callbacks.MetricsCsv(),
        "progress": callbacks.Progress(),
        "report": Report(),
    }
    with TemporaryDirectory() as outputs, resnet.Run(outputs, strategy=training.strategy) as run:
        trained = {"augmentation": shift_flip(), "callbacks": kept, "trainer": training, "run": run}
        resnet.fit(model, dataset, optimizer, **trained)


def trainer_on_cores(*arguments):
    """The same with a replica on each core."""
    trainer(*arguments, strategy="cores")


def stock(network, precision, directory, step_done):
    """Stock Keras layers under Model.fit, fed by ImageDataGenerator."""
    import keras

    from benchmarks.stock import generated_batches, stock_layers
    from resnet import prepare

    prepare(precision=precision)
    dataset = load(network, directory)
    with stock_layers():
        model = network.build("unrolled")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])

    class Report(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            step_done(network.batch)

    batches = generated_batches(dataset, network.batch)
    model.fit(batches, epochs=1000, verbose=2, callbacks=[Report()])


def pytorch(network, precision, directory, step_done, compiled=False):
    """The same network, loss, optimizer and augmentation in PyTorch, channels last."""
    from benchmarks import pytorch

    dataset = load(network, directory)
    model = getattr(pytorch, network.family)(**network.options)
    pytorch.train(
        model,
        dataset.train.images,
        dataset.train.labels,
        dataset.normalization.mean,
        network.batch,
        bfloat16=precision == "bfloat16",
        compiled=compiled,
        step_done=step_done,
    )


def compiled_pytorch(*arguments):
    """The same under torch.compile."""
    pytorch(*arguments, compiled=True)


KINDS = {
    "matrix product": product,
    "bare step": bare,
    "this project": trainer,
    "this project, cores": trainer_on_cores,
    "stock Keras": stock,
    "PyTorch": pytorch,
    "PyTorch, compiled": compiled_pytorch,
}
