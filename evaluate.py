"""Score a finished run: `python evaluate.py --help`."""

import json
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from resnet.cli.check import check_node
from resnet.cli.command import command, finished_run, import_keras, run_config


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def evaluate(config: DictConfig) -> None:
    directory = finished_run(config)
    data = OmegaConf.to_container(run_config(config, directory).data, resolve=True)
    assert isinstance(data, dict)
    check_node("data", data)

    import_keras()
    from hydra.utils import instantiate

    from resnet.report import evaluation, pictures
    from resnet.run import trained

    network = trained.load(directory)
    dataset = instantiate(data)
    network.check(dataset)
    probabilities = evaluation.predict(network.model, dataset.test, network.preprocessing, flip=config.flip)
    scores = evaluation.score(probabilities, dataset.test.labels, dataset.class_names)
    decay = float(sum(network.model.losses))
    report = {"loss": scores["cross_entropy"] + decay, "weight_decay": decay, **scores}
    output = Path(config.output)
    output.mkdir(parents=True)
    of = {"run": str(directory), "data": data, "flip": config.flip}
    (output / "evaluation.json").write_text(json.dumps(of | report, indent=2) + "\n", "utf-8")
    for name, picture in pictures.of_predictions(probabilities, dataset.test, dataset.class_names).items():
        (output / f"{name}.png").write_bytes(picture)
    show(report)
    print(f"in {output}: {', '.join(sorted(path.name for path in output.iterdir()))}")


def show(report):
    """Print the report: a line for the whole and a table of the classes."""
    from rich.console import Console
    from rich.table import Table

    top5 = report["top5_accuracy"]
    print(
        f"{report['images']:,} test images: accuracy {report['accuracy']:.2%}"
        + (f", top-5 {top5:.2%}" if top5 is not None else "")
        + f", loss {report['loss']:.4f} (cross-entropy {report['cross_entropy']:.4f}, "
        f"weight decay {report['weight_decay']:.4f}), calibration error {report['calibration_error']:.2%}"
    )
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
