"""Say what a finished run takes pictures for: `python predict.py --help`."""

import sys
from glob import glob
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
        width = max(len(str(path)) for path in images)
        for path, row in zip(images, probabilities, strict=True):
            print(f"{path!s:{width}}  {network.class_names[row.argmax()]}  {row.max():.2%}")
    if failed:
        sys.exit(1)


def find(config):
    """The files that `config.images` names, in its order; hidden ones in a folder are left out."""
    if OmegaConf.is_missing(config, "images"):
        raise ConfigError("images is missing: give images='[a.png,b.jpg]', a folder or a glob")
    given = config.images if OmegaConf.is_list(config.images) else [config.images]
    paths = []
    for name in map(str, given):
        if Path(name).is_dir():
            found = [p for p in sorted(Path(name).rglob("*")) if p.is_file() and p.name[0] != "."]
        else:
            found = [Path(name)] if Path(name).exists() else sorted(map(Path, glob(name, recursive=True)))
        if not found:
            raise ConfigError(f"images={name}: there is no such file, nor a folder or glob that holds one")
        paths += found
    return paths


if __name__ == "__main__":
    command(predict)
