"""Repeat the first steps of a run, and say whether it is what it claims to be: `python verify.py --help`."""

import sys

import hydra
from omegaconf import DictConfig

from resnet.cli.check import check
from resnet.cli.command import command, import_keras, named_run, run_config
from resnet.errors import ConfigError
from resnet.run.directory import RunDirectory


@hydra.main(version_base="1.3", config_path="conf", config_name="verify")
def verify(config: DictConfig) -> None:
    run = RunDirectory.begun(named_run(config))
    import_keras()
    from resnet.cli.assembly import parts_of, trainer_of
    from resnet.errors import UserError
    from resnet.fitting import fit
    from resnet.report import verification
    from resnet.run.callbacks import Receipt

    said = verification.read(run)
    later = verification.gone_on_with(said, run)
    recorded = run_config(config, run.path, said.configurations[0].text if said.configurations else None)
    check(recorded)
    if recorded.trainer.strategy._target_ == "resnet.training.distribution.multi_worker":
        raise ConfigError(f"run={run}: several workers trained it, which one program cannot repeat")
    recorded.trainer.max_steps, recorded.trainer.final_weights = len(said.losses), "last"
    trainer = trainer_of(recorded, said.circumstances.threads)
    if (here := trainer.strategy.num_replicas_in_sync) != (there := said.circumstances.replicas):
        raise UserError(f"run={run}: {there} replicas trained it, and here are {here}")
    trainer.planned_steps = said.planned_steps
    parts = parts_of(recorded, trainer)
    if parts["dataset"].train.checksum != said.images:
        raise UserError(f"run={run}: other: the training images are not the run's")
    repeated = Receipt(len(said.losses))
    parts["callbacks"] = verification.steering(parts["callbacks"]) | {"receipt": repeated}
    with verification.without_a_run():
        fit(**parts, trainer=trainer)
    found = verification.Receipt.model_validate(repeated.receipt())
    same, sentences = verification.judge(said, found, trainer.deterministic, run.epochs(), trainer.history)
    print(f"{run}: {sentences[0]}", *sentences[1:], *later, sep="\n")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    command(verify)
