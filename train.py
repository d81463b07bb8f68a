"""Train a residual network: `python train.py --help`."""

import time

LAUNCHED = time.time()

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from resnet.cli.check import check
from resnet.cli.command import check_run_directory, command, import_keras, record, threads


@hydra.main(version_base="1.3", config_path=str(Path(__file__).with_name("conf")), config_name="config")
def train(config: DictConfig) -> float:
    started = time.time() if HydraConfig.get().mode == RunMode.MULTIRUN else LAUNCHED
    check(config)
    check_run_directory(config)

    keras = import_keras()
    from hydra.utils import instantiate

    from resnet.distribution import use_threads, workers_stay
    from resnet.run import Run

    if number := threads(config):
        use_threads(number)
    directory, changes_allowed = HydraConfig.get().runtime.output_dir, config.changes == "allow"
    trainer = instantiate(config.trainer)  # first: it connects the workers, if there are several
    run = Run(directory, record(config), started, trainer.strategy, changes_allowed)
    with run, workers_stay(trainer.strategy):
        if run.result:
            return run.result["test_accuracy"]
        keras.utils.set_random_seed(config.seed)
        augment = instantiate(config.augmentation)
        dataset = augment.fit(instantiate(config.data))
        with trainer.scope():
            model = instantiate(
                config.model, input_shape=dataset.image_shape, num_classes=dataset.num_classes
            )
            optimizer = instantiate(config.optimizer)
        trainer.compile(model, optimizer, instantiate(config.schedule), augment, dataset)
        run.describe(trainer)
        run.resume(trainer)
        trainer.fit(run.callbacks(trainer))
        return run.finish(trainer, trainer.evaluate(dataset.test), config.seed)["test_accuracy"]


def main() -> None:
    command(train)


if __name__ == "__main__":
    main()
