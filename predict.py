"""Say what a finished run takes pictures for: `python predict.py --help`."""

import sys

import hydra
from omegaconf import DictConfig, OmegaConf

from resnet.cli.command import command, finished_run, import_keras
from resnet.cli.images import find
from resnet.errors import ConfigError
from resnet.run.directory import RunDirectory


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
def predict(config: DictConfig) -> None:
    directory = finished_run(config)
    if OmegaConf.is_missing(config, "images"):
        raise ConfigError("images is missing: give images='[a.png,b.jpg]', a folder or a glob")
    paths = find(config.images if isinstance(config.images, str) else list(config.images))

    import_keras()
    import numpy as np

    from resnet.errors import UserError
    from resnet.listing import printable
    from resnet.report import evaluation
    from resnet.run import trained

    network = trained.load(directory)
    data = RunDirectory(directory).config().get("data", {})
    images, failed = {}, False
    for path in paths:
        try:
            images[path] = trained.read_image(path, network.image_shape, data)
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


if __name__ == "__main__":
    command(predict)
