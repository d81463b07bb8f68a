"""Whatever is put in, a run trains or ends in a clear line, and a file is read or refused.

`make fuzz` runs a thousand random examples of each; the suite a few, always the same.
"""

import gzip
import hashlib
import io
import os
import pickle
import pickletools
import resource
import shutil
import struct
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Literal, get_args, get_origin

import hydra
import numpy as np
import pytest
import tensorflow as tf
from hydra.core.hydra_config import HydraConfig
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict

from conf.command import command
from conf.schema import SCHEMAS
from resnet.checkpoints import newest
from resnet.data import archive, cifar
from resnet.errors import UserError
from tests.test_conf import CONF, GROUPS, composed
from tests.test_data import write_official_layout
from train import train

CHEAP = ("data=digits", "data.train_size=20", "data.test_size=10", "model.depth=8", "trainer.batch_size=10")
VALUES = (
    """
    null true false 0 1 -1 2 3 8 11 14 20 0.5 -0.5 1.5 1e-3 1e-30 1e30 1e300 -1e300 1e400 inf -inf nan
    2147483647 2147483648 4294967296 99999999999999999999 '' abc 'a b' '1' [] [1] [1,2] [0.5,2] [1,x] [[1]]
    [null] {} {a:1} {_target_:resnet.schedules.Constant} ${seed} ${nope} ${trainer} ${data.seed}
    ${oc.env:HOME} ${oc.env:NOPE} ??? str(20) float(8) int(0.5) range(1,3) glob(*) choice(1,2)
""".split()
    + ["", "a: b", "'", '"', "\\", "${", "é", "x" * 300]
)


def keys(node, path=""):
    """Dotted names of all nodes and leaves."""
    for name, value in node.items():
        yield path + name
        if hasattr(value, "items"):
            yield from keys(value, f"{path}{name}.")


TREES = [composed(f"model={model}", "data=digits") for model in ("resnet_v1", "resnet_v2")]
LEAVES = {key: OmegaConf.select(tree, key) for tree in TREES for key in keys(tree)}
KEYS = sorted(LEAVES)
LITERALS = {
    name: list(get_args(field.annotation))
    for schema in SCHEMAS.values()
    for name, field in schema.model_fields.items()
    if get_origin(field.annotation) is Literal
}
WORDS = sorted({str(word) for words in LITERALS.values() for word in words})
OPTIONS = sorted(f"{group}={path.stem}" for group in GROUPS for path in (CONF / group).glob("*.yaml"))


def plausible(key):
    """Strategy for values of the kind that the key has."""
    kinds = {
        bool: st.booleans(),
        int: st.sampled_from([0, 1, 2, 5, 8, 10, 11, 14, 20]),
        float: st.floats(0, 1.5),
        str: st.sampled_from(LITERALS.get(key.rpartition(".")[2], ["a"])),
    }
    return st.builds("{}={}".format, st.just(key), kinds[type(LEAVES[key])])


likely = st.sampled_from([key for key in KEYS if type(LEAVES[key]) in (bool, int, float, str)]).flatmap(
    plausible
)
any_value = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from(WORDS),
    st.floats().map(repr),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
)
unlikely = st.one_of(
    st.builds("{}={}".format, st.sampled_from(KEYS), any_value),
    st.builds("~{}".format, st.sampled_from(KEYS)),
    st.builds(
        "{}{}={}".format,
        st.sampled_from(["+", "++"]),
        st.sampled_from(["new", "model.new", *KEYS]),
        any_value,
    ),
    st.builds(
        "{}._target_={}".format, st.sampled_from(KEYS), st.sampled_from([*SCHEMAS, "os.getcwd", "nope.x"])
    ),
)
overrides = likely | likely | st.sampled_from(OPTIONS) | unlikely


@pytest.fixture(scope="module")
def in_process():
    """train.py's own function can be called often: no traces, no downloads, nothing that stays on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
        patch.setattr(archive, "download", refuse_to_download)
        tf.config.run_functions_eagerly(True)
        yield patch
        tf.config.run_functions_eagerly(False)
        tf.keras.config.set_dtype_policy("float32")


def refuse_to_download(url, *_):
    raise UserError(f"{url}: there is no network here")


def run(arguments, directory):
    """Compose and train a step, unless the configuration asks for more than a test can afford."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", arguments, return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir, config.hydra.job.name = str(directory), "train"
        HydraConfig.instance().set_config(config)
        del config["hydra"]
    if affordable(config):
        train.__wrapped__(config)


def affordable(config):
    try:
        return not config.model.depth > 20 and not config.trainer.batch_size > 100
    except Exception:  # not a sound configuration, which train has to say
        return True


@given(given_overrides=st.lists(overrides, min_size=1, max_size=3))
def test_config_trains_a_step_or_is_refused_in_a_line(in_process, given_overrides):
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        arguments = [*CHEAP, *given_overrides, "++trainer.max_steps=1"]
        patch.setattr(sys, "argv", ["train.py", *arguments])
        errors, output = io.StringIO(), io.StringIO()
        patch.setattr(sys, "stderr", errors)
        patch.setattr(sys, "stdout", output)
        try:
            command(lambda: run(arguments, directory))
        except SystemExit as end:
            lines = errors.getvalue().splitlines()
            assert end.code == 1
            assert 1 <= len(lines) <= 2, lines
            assert len(lines[-1]) > 5
            return
