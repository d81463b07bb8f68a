"""Write a finished network for other programs: `python export.py --help`."""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from resnet.cli.check import check_node, check_values
from resnet.cli.command import command, finished_run, import_keras, run_config
from resnet.errors import ConfigError
from resnet.run.directory import RunDirectory


@hydra.main(version_base="1.3", config_path="conf", config_name="export")
def export(config: DictConfig) -> None:
    run = RunDirectory(finished_run(config))
    formats = [config.format] if isinstance(config.format, str) else list(config.format or [])
    check_values("", {"count": config.count, "seed": config.seed})
    recorded = run_config(config, run.path)
    data: Any = OmegaConf.to_container(recorded.data, resolve=True)
    check_node("data", data)
    if (output := Path(config.output)).exists():
        raise ConfigError(f"output={output}: it is there already; give another")

    import_keras()
    from resnet import export as exporting
    from resnet.export.card import table
    from resnet.report.subject import few, subjects_of

    exporting.check(formats)
    subjects = subjects_of([run], [recorded])
    dataset = few(subjects, config.count, config.seed)
    shipped = exporting.export(run, subjects[0].network, formats, dataset.train, dataset.test, output)
    print(table(shipped))
    print(f"in {output}: {', '.join(sorted(path.name for path in output.iterdir()))}")


if __name__ == "__main__":
    command(export)
