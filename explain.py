"""Show why a finished run works: `python explain.py --help`."""

import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from resnet.cli import images
from resnet.cli.check import check_node, check_values
from resnet.cli.command import command, finished_run, import_keras, run_config
from resnet.errors import ConfigError
from resnet.report import explain as pictures
from resnet.run.directory import RunDirectory

OmegaConf.register_new_resolver("pictures", pictures.described, replace=True)


@hydra.main(version_base="1.3", config_path="conf", config_name="explain")
def explain(config: DictConfig) -> None:
    runs = [RunDirectory(finished_run(config))]
    if config.against is not None:
        runs.append(RunDirectory.finished(str(config.against)))
    wanted = chosen(config)
    recorded = records(config, runs)

    import_keras()
    from resnet.report.subject import few, subjects_of

    networks = subjects_of(runs, recorded)
    dataset = few(networks, config.count, config.seed)
    output = Path(config.output)
    output.mkdir(parents=True)
    failed = [name for name in wanted if not show(name, wanted[name], networks, dataset, output)]
    print(f"in {output}: {', '.join(sorted(path.name for path in output.iterdir()))}")
    if failed and config.what is not None:
        sys.exit(1)


def records(config, runs):
    """The configurations of the runs, with the data of `config`."""
    recorded = [run_config(config, run.path) for run in runs]
    check_node("data", plain(recorded[0].data))
    return recorded


def chosen(config):
    """The options of each picture that is wanted, by its name."""
    given = config.what
    names = pictures.names() if given is None else list(given) if OmegaConf.is_list(given) else [given]
    pictures.check(names)
    if config.images is not None and "grad_cam" not in names:
        raise ConfigError(f"images={config.images}: they are for grad_cam, which is not among what={given}")
    check_values("", {"count": config.count, "seed": config.seed})
    options = {name: plain(config.get(name, OmegaConf.create())) for name in names}
    for name, values in options.items():
        check_values(name, values)
    if (given := options.get("grad_cam", {}).get("images")) is not None:
        options["grad_cam"]["images"] = images.find(given)
    return options


def plain(node) -> Any:
    """A node as a dict."""
    return OmegaConf.to_container(node, resolve=True)


def show(name, options, networks, dataset, output):
    """Write one picture and its numbers, and say what is seen; whether that was possible."""
    from resnet.errors import UserError
    from resnet.files import replace_text, replacing
    from resnet.report.figures import png
    from resnet.run.events import EventFile, picture_event, text_event

    try:
        found = pictures.find(name)(networks, dataset, **options)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return False
    picture = png(found.figure)
    (output / f"{name}.png").write_bytes(picture)
    replace_text(output / f"{name}.csv", found.csv())
    directory = networks[0].run.tensorboard / "explanations"
    events = EventFile(directory, f".{name}")
    for event in (picture_event(name, picture, 0), text_event(f"{name}/seen", found.sentence)):
        events.add_event(event)
    for file, data in found.files.items():
        with replacing(directory / file) as part:
            part.write_bytes(data)
    print(f"{name}: {found.sentence}")
    return True


if __name__ == "__main__":
    command(explain)
