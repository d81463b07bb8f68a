"""Who is measured by throughput.py. Each trains without end, and says after each step what it did."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SIZE = 2048


class Network(NamedTuple):
    """One network of this project with its batch size."""

    family: str
    depth: int
    batch: int

    @property
    def title(self):
        version = self.family.removeprefix("resnet_")
        return f"ResNet-{self.depth} {version}, batch {self.batch}"

    def build(self, stage="looped"):
        from resnet import models

        return getattr(models, self.family)((32, 32, 3), 10, depth=self.depth, stage=stage)

    def flops(self):
        """Of a training step, an image: those of the forward pass three times."""
        layers = [layer for layer in self.build("unrolled").layers if hasattr(layer, "kernel")]
        products = (layer.kernel.shape.num_elements() * pixels(layer.output.shape) for layer in layers)
        return 3 * 2 * sum(products)


def pixels(shape):
    return shape[1] * shape[2] if len(shape) == 4 else 1


NETWORKS = {"resnet20": Network("resnet_v1", 20, 128), "resnet110": Network("resnet_v2", 110, 64)}


def load(directory):
    from resnet.data import cifar10

    options = {"train_size": None, "test_size": None, "validation_split": 0.0}
    return cifar10(directory, normalization="pixel_mean", seed=1, **options)


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

    from resnet.training.distribution import single
    from resnet.training.optimizers import Adam
    from resnet.training.trainer import STEPS_PER_CALL, set_precision

    set_precision(precision, single())
    dataset, model, optimizer = load(directory), network.build(), Adam(1e-3)
    optimizer.build(model.trainable_variables)
    images = tf.constant(dataset.normalization(dataset.train.images[: network.batch].astype("float32")))
    labels = tf.constant(dataset.train.labels[: network.batch])
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = max(1, STEPS_PER_CALL * 20 // network.depth)

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
    """This project, as train.py puts it together."""
    import keras
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from resnet.run import Run

    overrides = {
        "model": network.family,
        "model.depth": network.depth,
        "trainer/strategy": strategy,
        "trainer.batch_size": network.batch,
        "trainer.precision": precision,
        "data.dir": directory,
        "data.test_size": 500,
    }
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", [f"{key}={value}" for key, value in overrides.items()])
    record = {"config.yaml": OmegaConf.to_yaml(config), "overrides.yaml": "[]"}
    training = instantiate(config.trainer)
    with TemporaryDirectory() as outputs, Run(outputs, record, time.time(), training.strategy) as run:
        augment = instantiate(config.augmentation)
        dataset = augment.fit(instantiate(config.data))
        with training.scope():
            model = instantiate(config.model, input_shape=dataset.image_shape, num_classes=10)
            optimizer = instantiate(config.optimizer)
        training.compile(model, optimizer, instantiate(config.schedule), augment, dataset)
        run.describe(training)

        class Report(keras.callbacks.Callback):
            done = 0

            def on_train_batch_end(self, batch, logs=None):
                step_done((training.step - self.done) * network.batch)
                self.done = training.step

        training.fit([*run.callbacks(training), Report()])


def trainer_on_cores(*arguments):
    """The same with a replica on each core."""
    trainer(*arguments, strategy="cores")


def stock(network, precision, directory, step_done):
    """Stock Keras layers under Model.fit, fed by ImageDataGenerator."""
    import keras

    from benchmarks.stock import generated_batches, stock_layers
    from resnet.training.distribution import single
    from resnet.training.trainer import set_precision

    set_precision(precision, single())
    dataset = load(directory)
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

    dataset = load(directory)
    model = getattr(pytorch, network.family)(network.depth)
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
