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
from resnet.cli.experiments import leave_out_foreign
from resnet.cli.jobs import stoppable
from resnet.cli.sweeps import check_objective


@hydra.main(version_base="1.3", config_path=str(Path(__file__).with_name("conf")), config_name="config")
def train(config: DictConfig) -> float | None:
    started = time.time() if HydraConfig.get().mode == RunMode.MULTIRUN else LAUNCHED
    leave_out_foreign(config)
    check(config)
    check_run_directory(config)

    import_keras()
    from resnet.cli.assembly import parts_of, trainer_of
    from resnet.fitting import fit
    from resnet.run.run import Run
    from resnet.training.distribution import workers_stay

    trainer = trainer_of(config, threads(config))
    directory, changes_allowed = HydraConfig.get().runtime.output_dir, config.changes == "allow"
    run = Run(directory, record(config), trainer.strategy, started, changes_allowed)
    with stoppable(), run, workers_stay(trainer.strategy):
        if not run.result:
            parts = parts_of(config, trainer)
            check_objective(config.trainer.watch, parts["dataset"].validation is not None)
            fit(**parts, trainer=trainer, run=run)
        return run.result["objective"]["value"]


def main() -> None:
    command(train)


if __name__ == "__main__":
    main()
