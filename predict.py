"""Say what a finished run takes pictures for: `python predict.py --help`."""

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from resnet.cli.command import command, finished_run, import_keras
from resnet.errors import ConfigError
from resnet.run.directory import RunDirectory


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
def predict(config: DictConfig) -> None:
    directory = finished_run(config)
    paths = find(config)

    import_keras()
    import numpy as np

    from resnet.errors import UserError
    from resnet.listing import printable
    from resnet.report import evaluation
    from resnet.run import trained

    network = trained.load(directory)
    resize = RunDirectory(directory).config().get("data", {}).get("resize", "crop")
    images, failed = {}, False
    for path in paths:
        try:
            images[path] = trained.read_image(path, network.image_shape, resize)
        except UserError as error:
            failed = True
            print(error, file=sys.stderr)
    if images:
        probabilities = evaluation.predict(
            network.model, np.stack(list(images.values())), network.preprocessing
        )
        names = [printable(path) for path in images]
        width = max(map(len, names))
        for name, row in zip(names, probabilities, strict=True):
            print(f"{name:{width}}  {network.class_names[row.argmax()]}  {row.max():.2%}")
    if failed:
        sys.exit(1)


def find(config):
    """The files that `config.images` names, in its order, each once.

    A folder, named or met by a glob, stands for what lies in and below it; hidden and system files are left
    out of it.
    """
    if OmegaConf.is_missing(config, "images"):
        raise ConfigError("images is missing: give images='[a.png,b.jpg]', a folder or a glob")
    given = config.images if OmegaConf.is_list(config.images) else [config.images]
    paths = []
    for name in map(str, given):
        found = [path for start in _named(name) for path in _files(start)]
        if not found:
            raise ConfigError(f"images={name}: there is no such file, nor a folder or glob that holds one")
        paths += found
    return list(dict.fromkeys(paths))


def _named(name):
    """The paths that a name or glob stands for; `**` does not go through links, which may lead in circles."""
    path = Path(name)
    if os.path.lexists(path):
        return [path]
    from resnet.listing import is_system

    try:
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except ValueError as error:
        raise ConfigError(f"images={name}: {error}") from error
    return [p for p in found if not any(is_system(part) and part not in path.parts for part in p.parts)]


def _files(path):
    if not path.is_dir():
        return [path]
    from resnet.listing import files

    return files(path)


if __name__ == "__main__":
    command(predict)
