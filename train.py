"""Train a residual network: `python train.py --help`."""

import time

STARTED = time.time()

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from conf.schema import check, command


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def train(config: DictConfig) -> float:
    check(config)

    import keras
    from hydra.utils import instantiate

    from resnet.run import Run

    keras.utils.set_random_seed(config.seed)
    run = Run(HydraConfig.get().runtime.output_dir, OmegaConf.to_yaml(config), STARTED)
    dataset = instantiate(config.data)
    trainer = instantiate(config.trainer)
    with trainer.scope():
        model = instantiate(config.model, input_shape=dataset.image_shape, num_classes=dataset.num_classes)
        optimizer = instantiate(config.optimizer)
    run.describe(model, dataset)
    trainer.compile(model, optimizer, instantiate(config.schedule), instantiate(config.augmentation), dataset)
    history = trainer.fit(run.callbacks(trainer.watched_name))
    result = run.finish(trainer, history, trainer.evaluate(dataset.test), config.seed)
    return result["test_accuracy"]


if __name__ == "__main__":
    command(train)
