"""Find the largest batch that a training has memory for: `python batch.py --help`."""

import hydra
from omegaconf import DictConfig, OmegaConf

from resnet.cli.check import check, check_values
from resnet.cli.command import command, threads
from resnet.cli.experiments import leave_out_foreign
from resnet.cli.trial import Trials, largest
from resnet.errors import ConfigError


@hydra.main(version_base="1.3", config_path="conf", config_name="batch")
def batch(config: DictConfig) -> None:
    check_values("", {"memory_gb": config.memory_gb})
    training = OmegaConf.masked_copy(config, [str(name) for name in config if name != "memory_gb"])
    leave_out_foreign(training)
    check(training)
    if training.trainer.strategy._target_ == "resnet.training.distribution.multi_worker":
        raise ConfigError("trainer/strategy=multi_worker: one program tries no batches of several workers")
    trials = Trials(training, threads(config), config.memory_gb)
    found = largest(trials, training.trainer.batch_size)
    print(f"largest batch: trainer.batch_size={found.batch}, {found}; {trials.limit}")


if __name__ == "__main__":
    command(batch)
