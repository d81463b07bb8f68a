"""Score a finished run: `python evaluate.py --help`."""

import json
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from resnet.cli.check import check_node, check_values
from resnet.cli.command import command, finished_run, import_keras, run_config, told
from resnet.errors import decoration
from resnet.run.directory import RunDirectory

READING = ("image_size", "channels", "resize", "test_crop")  # how pictures are brought to the network's size
WHOLE = {"test_split": None, "validation_split": 0.0}  # nothing is cut off
UNCUT = WHOLE | {"train_size": None, "test_size": None, "folds": None, "label_noise": 0.0}
OTHER_TEST = ("test_split", "test_size")  # what asks for other test images than the run's


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def evaluate(config: DictConfig) -> None:
    directory = finished_run(config)
    check_values("", {"views": config.views})
    data = data_config(config, directory)
    check_node("data", data)

    import_keras()
    from hydra.utils import instantiate

    from resnet.data.cifar10_c import errors
    from resnet.report import evaluation, pictures
    from resnet.run import trained

    network = trained.load(directory)
    dataset, as_read = datasets(config, data, own_data(directory))
    if "data.image_size" in told() and config.views != 10 and dataset.image_shape != network.image_shape:
        shapes = {"input_shape": dataset.image_shape, "num_classes": len(network.class_names)}
        other = instantiate(RunDirectory(directory).config()["model"], **shapes)
        network = network.at(other, f"data.image_size={data['image_size']}")
    network.check(dataset, config.views)
    test = test_images(config, RunDirectory(directory), dataset, as_read)
    probabilities = evaluation.predict(network.model, test, network.preprocessing, config.views)
    scores = evaluation.score(probabilities, test.labels, dataset.class_names)
    decay = float(sum(network.model.losses))
    report = {"loss": scores["cross_entropy"] + decay, "weight_decay": decay, **scores}
    if dataset.condition:
        conditions = [dataset.condition(test.name(i)) for i in range(len(test))]
        report |= errors(probabilities.argmax(1) == test.labels, conditions)
    output = Path(config.output)
    output.mkdir(parents=True)
    of = {"run": str(directory), "data": data, "views": config.views}
    (output / "evaluation.json").write_text(json.dumps(of | report, indent=2) + "\n", "utf-8")
    show(report, config.views)
    with decoration("the pictures"):
        for name, picture in pictures.of_predictions(probabilities, test, dataset.class_names).items():
            (output / f"{name}.png").write_bytes(picture)
    print(f"in {output}: {', '.join(sorted(path.name for path in output.iterdir()))}")


def data_config(config, directory):
    """The run's own data node with what `config.data` changes in it, or `config.data` where it is whole.

    Other pictures are read as the run read its own, and all of them are test images, unless they come with a
    test part or the command line says otherwise.
    """
    given, run = config.get("data") or {}, run_config(config, directory)
    if "_target_" in given:
        alike = how_read(own_data(directory)) | WHOLE
        run.data.update({k: alike[k] for k in alike if k in given and f"data.{k}" not in told()})
    return OmegaConf.to_container(run.data, resolve=True)


def own_data(directory):
    """The run's data node, empty for one from Python."""
    config = OmegaConf.create(RunDirectory(directory).config_text())
    return OmegaConf.to_container(config.data, resolve=True) if "data" in config else {}


def how_read(data):
    return {key: data[key] for key in READING if key in data}


def asks_for_others(config):
    """Whether the data are other ones as a whole, or cut otherwise."""
    given = config.get("data") or {}
    return any(key in given for key in ("_target_", *OTHER_TEST))


def datasets(config, data, own):
    """The Dataset of the node `data`, and the same with pictures read as the run read its `own`.

    By these are known those that it tested or trained on. Where they differ, and the run's own test images
    are asked for, neither is cut: equal pictures are cut together, and need not be equal in both.
    """
    from hydra.utils import instantiate

    if data["_target_"] != own.get("_target_") or how_read(data) == how_read(own):
        dataset = instantiate(data)
        return dataset, dataset
    if not asks_for_others(config):
        data = data | {key: value for key, value in UNCUT.items() if key in data}
    as_own = {key: value for key, value in data.items() if key not in READING} | how_read(own)
    return instantiate(data), instantiate(as_own)


def test_images(config, run, dataset, as_read):
    """The run's own test images, or those of the data where these are others, see `datasets`."""
    from resnet.run import split

    parts = run.parts()
    if not asks_for_others(config):
        return split.own_test(dataset, parts, as_read)
    split.warn_of_trained(as_read.test.hashes, parts, "images that are scored")
    return dataset.test


def show(report, views=1):
    """Print the report: a line for the whole and a table of the classes."""
    from rich.console import Console
    from rich.table import Table

    top5, each = report["top5_accuracy"], f", {views} views of each" if views > 1 else ""
    print(
        f"{report['images']:,} test images{each}: accuracy {report['accuracy']:.2%}"
        + (f", top-5 {top5:.2%}" if top5 is not None else "")
        + f", loss {report['loss']:.4f} (cross-entropy {report['cross_entropy']:.4f}, "
        f"weight decay {report['weight_decay']:.4f}), calibration error {report['calibration_error']:.2%}"
    )
    for corruption, of in report.get("corruptions", {}).items():
        print(f"{corruption}: error {', '.join(f'{error:.2%}' for error in of.values())} by severity")
    if "mean_corruption_error" in report:
        print(f"mean corruption error {report['mean_corruption_error']:.2%}")
    table = Table("class", box=None, pad_edge=False)
    for heading in ("images", "accuracy", "precision"):
        table.add_column(heading, justify="right")
    table.add_column("mostly mistaken for")
    names = [row["class"] for row in report["per_class"]]
    for i, row in enumerate(report["per_class"]):
        errors = [count if j != i else 0 for j, count in enumerate(report["confusion"][i])]
        worst = errors.index(max(errors))
        table.add_row(
            row["class"],
            f"{row['images']:,}",
            f"{row['accuracy']:.2%}",
            f"{row['precision']:.2%}",
            f"{names[worst]} ({errors[worst]:,})" if errors[worst] else "",
        )
    Console(markup=False, emoji=False, highlight=False).print(table)


if __name__ == "__main__":
    command(evaluate)
