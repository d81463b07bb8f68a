"""Every option of every group composes, passes the check and builds what its contract says."""

import inspect
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from PIL import Image

from resnet.cli import building
from resnet.cli.assembly import parts_of
from resnet.cli.check import check, check_node
from resnet.cli.experiments import leave_out_foreign
from resnet.data import Preprocessing, digits, synthetic
from resnet.errors import ConfigError
from resnet.training.trainer import Trainer
from tests import sources

CONF = Path(__file__).parent.parent / "conf"
WHOLE = {"train_size": None, "test_size": None, "validation_split": 0.0, "normalization": "channel"}
GROUPS = (
    "data",
    "model",
    "optimizer",
    "augmentation",
    "schedule",
    "loss",
    "init",
    "freeze",
    "trainer",
    "experiment",
)
BY_NAME = ("metrics", "callbacks")


def options(*groups):
    """`group=option` for every option; a file whose name begins with _ holds what several of them share."""
    files = [(group, path.stem) for group in groups for path in sorted((CONF / group).glob("*.yaml"))]
    return [f"{group}={name}" for group, name in files if not name.startswith("_")]


NEEDED = {  # what has no default
    "loss=distillation": ["loss.teacher=run"],
    "init=run": ["init.run=run"],
    "init=torch": ["init.file=weights.npz"],
    "experiment=finetune": ["init.run=run"],
}


def composed(*overrides):
    needed = [more for override in overrides for more in NEEDED.get(override, ())]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*overrides, *needed])
    check(config)
    return config


@pytest.mark.parametrize("option", options(*GROUPS, *BY_NAME, "trainer/strategy"))
def test_composes(option):
    composed(option)


@pytest.mark.parametrize("option", options("experiment"))
def test_every_job_of_a_sweep_composes(option):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = compose("config", [option, *NEEDED.get(option, ())], return_hydra_config=True).hydra
    params = [f"{key}={values}" for key, values in (hydra.sweeper.params or {}).items()]
    overrides = OverridesParser.create().parse_overrides(params)
    (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    configs = [composed(option, *job) for job in jobs]
    assert len({OmegaConf.to_yaml(config, resolve=True) for config in configs}) == len(jobs)


def test_the_keras_example_is_the_default_but_for_what_it_watches():
    example = composed("experiment=keras_example")
    assert example == composed("experiment=seed")  # its former name
    assert composed("data.validation_split=0.0", "trainer.watch=test") == example
    model = instantiate(example.model, input_shape=(32, 32, 3), num_classes=10)
    assert model.count_params() == 274_442


@pytest.mark.parametrize(("option", "parameters"), [("paper_v1", 269_722), ("paper_v2", 1_703_258)])
def test_the_papers_networks(option, parameters):
    model = instantiate(composed(f"experiment={option}").model, input_shape=(32, 32, 3), num_classes=10)
    assert sum(v.shape.num_elements() for v in model.trainable_variables) == parameters


def trained_with(*overrides):
    """What train.py makes of these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        own = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
        leave_out_foreign(own)
    return own


@pytest.mark.parametrize(
    ("experiment", "group", "option", "stays"),
    [
        ("demo", "schedule", "paper", {}),
        ("demo", "augmentation", "crop_flip", {"flip": False}),  # that digits have no mirror
        ("demo", "model", "resnet_v2", {"bn_momentum": 0.9}),
        ("fast_cpu", "optimizer", "adam", {}),
        ("fast_cpu", "model", "resnet_v1", {}),
        ("fast_cpu", "trainer/strategy", "single", {}),
        ("fast_cpu", "data", "cifar100", {"validation_split": 0.0, "normalization": "channel"}),
        ("keras_example", "optimizer", "sgd", {}),
        ("folds", "data", "digits", {"folds": 5}),
        ("lr_range", "data", "cifar10", {"validation_split": 0.0}),
        ("paper_v1", "model", "plain", {"conv_bias": False, "l2": 5.0e-5, "padding": "symmetric"}),
    ],
)
def test_another_option_than_an_experiments_is_as_without_it(experiment, group, option, stays):
    """But for what the experiment says of any option, and for what the line says."""
    chosen, path = f"{group}={option}", group.replace("/", ".")
    found, usual = (
        OmegaConf.to_container(OmegaConf.select(trained_with(*words), path))
        for words in ([f"experiment={experiment}", chosen], [chosen])
    )
    assert found == usual | stays


def test_what_the_line_says_of_another_option_than_an_experiments_stays(caplog):
    caplog.set_level("INFO")
    found = trained_with("experiment=fast_cpu", "optimizer=sgd", "optimizer.momentum=0.6")
    assert (found.optimizer.momentum, found.optimizer.learning_rate) == (0.6, 0.1)
    assert [record.getMessage() for record in caplog.records] == [
        "optimizer=sgd has no normalize, others: left out of experiment=fast_cpu",
        "optimizer=sgd has its own decoupled, groups, learning_rate, weight_decay: "
        "left out of experiment=fast_cpu",
    ]


SUPPLIED = {"input_shape", "num_classes"}  # by the program


def nodes(tree):
    """Every node that builds something, in it too, with what it interpolates as it is written."""
    if isinstance(tree, dict) and "_target_" in tree:
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(part)


def nodes_of(option):
    tree = OmegaConf.to_container(composed(option))
    for name in option.partition("=")[0].split("/"):
        tree = tree[name]
    return list(nodes(tree))


BUILDING = options(*GROUPS[:-1], *BY_NAME, "trainer/strategy")


@pytest.mark.parametrize("option", BUILDING)
def test_signature_has_the_names_of_yaml(option):
    for node in nodes_of(option):
        parameters = inspect.signature(get_object(node["_target_"])).parameters.values()
        named = {p.name for p in parameters if p.kind != p.VAR_KEYWORD} - SUPPLIED
        given = node.keys() - {"_target_"}
        ours = node["_target_"].startswith("resnet.")
        assert given == named if ours else given <= named, node


def home(target):
    """The options whose nodes hold a target's defaults: the one named as it is, or else all."""
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", target.rpartition(".")[2]).lower()
    return [option for option in BUILDING if option.endswith(f"={name}")] or BUILDING


@pytest.mark.parametrize("option", BUILDING)
def test_signature_has_the_defaults_of_yaml(option):
    """But for other nodes, for what is interpolated, and for parameters that have none."""
    for node in nodes_of(option):
        target = node.pop("_target_")
        if not target.startswith("resnet.") or option not in home(target):
            continue
        parameters = inspect.signature(get_object(target)).parameters
        for name, value in node.items():
            default = parameters[name].default
            if list(nodes(value)) or str(value).startswith("${") or default is inspect.Parameter.empty:
                continue
            assert (list(default) if isinstance(default, tuple) else default) == value, (target, name)


def test_options_of_the_users_own_are_left_alone():
    """Their names may be ours, and mean another thing; what is ours inside them is checked."""
    own = {"_target_": "mypkg.Net", "recompute": True, "depth": "deep", "padding": {"left": 1}, "extra": 3}
    check_node("model", own)
    check_node("optimizer", {"_target_": "keras.optimizers.SGD", "learning_rate": 0.1, "asynchronous": 1})
    with pytest.raises(ConfigError, match="model.part.depth=21: .* nearest: 20 and 26"):
        check_node("model", own | {"part": {"_target_": "resnet.models.resnet_v1", "depth": 21}})
    with pytest.raises(ConfigError, match="optimizer.momentum=2"):
        check_node("optimizer", {"_target_": "keras.optimizers.RMSprop", "momentum": 2.0})


@pytest.mark.parametrize("option", options("model"))
def test_model(option):
    model = instantiate(composed(option).model, input_shape=(32, 32, 3), num_classes=7)
    assert model(tf.zeros([2, 32, 32, 3])).shape == (2, 7)


ON_DISK = {"cifar10": "CIFAR10_DIR", "cifar100": "CIFAR100_DIR"}


@pytest.mark.parametrize("option", options("data"))
def test_data(option, tmp_path):
    overrides = [option, "data.train_size=250", "data.validation_split=0.2", "data.test_size=100"]
    name = option.removeprefix("data=")
    if name in ("cifar10_c", "tfds"):
        pytest.skip("see test_sources.py")
    if name in sources.MAKERS:
        sources.MAKERS[name](tmp_path)
        overrides.append(f"data.dir={tmp_path}")
    if name in ON_DISK:
        if ON_DISK[name] not in os.environ:
            pytest.skip(f"{ON_DISK[name]} does not name {name}")
        overrides.append(f"data.dir={os.environ[ON_DISK[name]]}")
    if name == "image_folder":
        write_pictures(tmp_path)
        overrides.append(f"data.dir={tmp_path}")
    if name == "npz":
        pictures = synthetic(train_images=300, seed=1, **WHOLE)
        arrays = {"x_train": pictures.train.images, "y_train": pictures.train.labels}
        arrays |= {"x_test": pictures.test.images, "y_test": pictures.test.labels}
        np.savez(tmp_path / "data.npz", **arrays)
        overrides.append(f"data.file={tmp_path / 'data.npz'}")
    dataset = instantiate(composed(*overrides).data)
    own_validation = name == "cinic10"
    assert dataset.train.images.shape == (250 if own_validation else 200, *dataset.image_shape)
    assert dataset.train.images.dtype == "uint8"
    assert len(dataset.test.labels) == 100
    assert dataset.num_classes == (100 if name == "cifar100" else 10)


def write_pictures(root):
    pictures = synthetic(train_images=600, test_images=1, seed=1, **WHOLE).train
    for i, (image, label) in enumerate(zip(pictures.images, pictures.labels, strict=True)):
        (root / f"class{label}").mkdir(exist_ok=True)
        Image.fromarray(image).save(root / f"class{label}" / f"{i}.png")


@pytest.mark.parametrize("option", options("optimizer"))
def test_optimizer(option):
    assert isinstance(instantiate(composed(option).optimizer), keras.optimizers.Optimizer)


@pytest.mark.parametrize("option", options("augmentation"))
def test_augmentation(option):
    augment = instantiate(composed(option).augmentation)
    dataset = digits(train_size=20, test_size=20, validation_split=0.0, normalization="channel", seed=1)
    first = tf.constant(0)
    batch = Preprocessing.of(dataset, augment).training(
        dataset.train.images, dataset.train.labels, tf.range(20), first, first
    )
    assert batch.images.shape == (20, 32, 32, 3)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("augmentation=keras augmentation.zoom_range=[1]", "augmentation.zoom_range=.1.: .* 2 items"),
        ("augmentation=keras augmentation.fill_mode=mirror", "fill_mode=mirror: .*'wrap'"),
        ("augmentation=keras augmentation.width_shift_range=-0.1", "width_shift_range=-0.1: .*to 0"),
        ("augmentation=cutout augmentation.transforms.1.size=0", "augmentation.transforms.1.size=0: .*to 1"),
        (
            "augmentation=strong +augmentation.transforms.0.sized=3",
            "transforms.0.sized: there is no option sized",
        ),
        ("optimizer.decay_of=norms", "optimizer.decay_of=norms: .*'kernels', 'weights' or 'all'"),
        ("optimizer.groups=[{match:bias,rate:2.0}]", "optimizer.groups.0.rate=2.0: extra inputs"),
        ("optimizer.groups=[{rate_factor:2.0}]", "optimizer.groups.0.match: field required"),
        ("optimizer.clipnorm=0", "optimizer.clipnorm=0: "),
        ("trainer.sam_adaptive=true", "trainer.sam_adaptive=true needs sam_rho"),
        ("model.recompute=true model.stage=unrolled", "model.recompute=true needs stage=looped"),
        ("model.residual=fixup", "model.residual=fixup needs norm=none"),
        (
            "model=resnet_v2 model.residual=normalizer_free model.norm=none",
            "residual=normalizer_free needs shortcut=projection_bn or pooled",
        ),
        ("model=wide_resnet model.depth=20", "model.depth=20: depth is 6n.4; nearest: 16 and 22"),
        ("model=densenet model.depth=41 model.bottleneck=false", "model.depth=41: depth is 3n.4"),
        ("model=convnext model.size=huge", "model.size=huge: .*'atto'"),
        ("schedule.boundaries=[3,2,4,5]", "schedule.boundaries=.3, 2, 4, 5.: boundaries must rise"),
        ("model._target_=resnet.data.digits", "model._target_=resnet.data.digits: expected resnet.models"),
        (
            "schedule._target_=keras.optimizers.SGD",
            "schedule._target_=.*: expected resnet.training.schedules",
        ),
        ("loss=focal loss.gamma=-1", "loss.gamma=-1: .*to 0"),
        ("loss=bootstrapped loss.beta=1.5", "loss.beta=1.5: .*to 1"),
        ("loss=bootstrapped loss.kind=medium", "loss.kind=medium: .*'hard' or 'soft'"),
        ("loss=distillation loss.alpha=2", "loss.alpha=2: .*to 1"),
        ("data.folds=3 data.fold=3", "data.fold=3: of 3 folds, which are 0 to 2"),
        ("optimizer.learning_rate=nan", "learning_rate=nan: input should be a finite number$"),
        ("optimizer.groups=[{match:bias,rate_factor:inf}]", "groups.*: input should be a finite number$"),
        ("+metrics.loss._target_=keras.metrics.CategoricalHinge", "metrics.loss: .* give the metric another"),
        ("data.fold=3", "data.fold=3: of no folds; give folds"),
        ("data=imagenet data.originals=true data.memory=resident", "data.originals=true reads pictures from"),
        ("data.memory=disk", "data.memory=disk: .*'auto', 'resident' or 'streamed'"),
        ("data=image_folder data.image_size=[32]", "data.image_size=.32.: .* 2 items"),
        ("data=image_folder data.channels=4", "data.channels=4: .*1 or 3"),
        ("data=cifar100 data.labels=all", "data.labels=all: .*'fine' or 'coarse'"),
    ],
)
def test_impossible_values_are_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        composed(*overrides.split())


@pytest.mark.parametrize(
    ("overrides", "warned"),
    [
        (["trainer.epochs=5"], True),
        (["trainer.epochs=6"], False),
        (["trainer.epochs=5", "freeze.epochs=null"], False),
        (["trainer.epochs=5", "freeze.parts=[]"], False),
        (["trainer.epochs=5", "trainer.minutes=1.0"], False),
    ],
)
def test_a_thaw_after_the_end_is_told(overrides, warned, caplog):
    composed("experiment=finetune", *overrides)
    assert [record.getMessage()[:16] for record in caplog.records] == ["freeze.epochs=5:"] * warned


@pytest.mark.parametrize(
    ("group", "overrides", "line"),
    [
        (
            "augmentation",
            ["augmentation=strong", "+augmentation.transforms.0.size=3"],
            "augmentation.transforms.0.size: randaugment takes no size; it takes magnitude, operations",
        ),
        (
            "schedule",
            ["+schedule.factor=0.1"],
            "schedule.factor: Steps takes no factor; it takes factors, boundaries",
        ),
        (
            "optimizer",
            ["optimizer=sgd", "+optimizer.beta_1=0.9"],
            "optimizer.beta_1: SGD takes no beta_1; it takes ",
        ),
        (
            "optimizer",
            ["optimizer=adamw", "optimizer.weight_decay=null"],
            "optimizer: .*; AdamW takes learning_rate, weight_",
        ),
    ],
)
def test_what_cannot_be_built_names_what_is_taken(group, overrides, line):
    with pytest.raises(InstantiationException) as raised:
        instantiate(composed(*overrides)[group])
    found = building.explain(raised.value)
    assert found and re.match(line, found), found


def test_no_callbacks():
    """An empty list; of metrics, the trainer says which one must be there."""
    config = composed("callbacks=[]", "metrics=[]")
    assert (config.callbacks, config.metrics) == ({}, {})


def test_what_is_no_callback_is_named():
    config = composed("data=digits", "+callbacks.x._target_=keras.layers.ReLU")
    with pytest.raises(ConfigError, match="callbacks.x._target_=keras.layers.ReLU: it is no keras.callbacks"):
        parts_of(config, Trainer(epochs=1, batch_size=10))


def test_a_target_that_is_not_there_says_why():
    with pytest.raises(InstantiationException) as raised:
        instantiate({"model": {"_target_": "resnet.models.tinny"}})
    line = building.explain(raised.value)
    assert line and line.startswith("model._target_=resnet.models.tinny: ")
    assert "tinny" in line.partition(": ")[2] and "HYDRA_FULL_ERROR" not in line


def test_one_transform_of_a_list_is_changed_from_the_command_line():
    config = composed("augmentation=cutout", "augmentation.transforms.1.size=8")
    assert [dict(t).get("size") for t in config.augmentation.transforms] == [None, 8]


@pytest.mark.parametrize("option", options("schedule"))
def test_schedule(option):
    schedule = instantiate(composed(option).schedule)
    assert all(0 <= schedule(epoch / 2) <= 1 for epoch in range(400))


@pytest.mark.parametrize("option", options("trainer"))
def test_trainer(option):
    assert isinstance(instantiate(composed(option).trainer), Trainer)
