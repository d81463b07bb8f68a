"""What libraries do not publish and this program uses: a version that breaks it fails here, by name."""

import ast
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet import internals

HOME = Path(internals.__file__).parent


def imported():
    """What each module of `internals` imports of the library it is named after: (library, module, name)."""
    for path in sorted(HOME.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == path.stem:
                yield from ((path.stem, node.module, alias.name) for alias in node.names)


@contextmanager
def needed(library, name, use):
    """Fails with the library, the name and its use for whatever the body raises."""
    try:
        yield
    except Exception as error:
        release = (
            f"Python {sys.version.split()[0]}" if library == "pickle" else f"{library} {version(library)}"
        )
        pytest.fail(f"{release}: {name} is not what it was ({error!r}); it is used for: {use}", pytrace=False)


@pytest.mark.parametrize(("library", "module", "name"), list(imported()), ids=lambda text: text)
def test_imported(library, module, name):
    why = ast.get_docstring(ast.parse((HOME / f"{library}.py").read_text()))
    with needed(library, f"{module}.{name}", why.splitlines()[0]):
        getattr(import_module(module), name)


def test_there_are_some():
    assert {library for library, *_ in imported()} == {"pickle", "tensorboard", "tensorflow"}


def test_the_layer_of_a_tensor():
    from resnet.internals.keras import producer

    with needed("keras", "KerasTensor._keras_history.operation", "the branches in architecture.svg"):
        inputs = keras.Input((3,))
        layer = keras.layers.Dense(2)
        assert producer(layer(inputs)) is layer
        assert producer(inputs) is not layer


def adam():
    variables = [keras.Variable([1.0, -2.0]), keras.Variable([[3.0]])]
    optimizer = keras.optimizers.Adam(0.1, beta_1=0.5, beta_2=0.75)
    optimizer.build(variables)
    optimizer.apply([tf.constant([4.0, 2.0]), tf.constant([[8.0]])])
    return optimizer, variables


def test_the_number_of_a_variable():
    from resnet.internals.keras import number

    with needed(
        "keras", "Optimizer._get_variable_index", "what resnet.training.optimizers keep for a variable"
    ):
        optimizer, variables = adam()
        assert [number(optimizer, variable) for variable in variables] == [0, 1]


@pytest.mark.parametrize(("i", "name"), enumerate(["_momentums", "_velocities"]))
def test_moments(i, name):
    """After one step from 0: (1 - beta_1) g and (1 - beta_2) g^2, which one operation reads and writes."""
    from resnet.internals.keras import moments

    with needed("keras", f"Adam.{name}", "Adam's update in one operation"):
        optimizer, variables = adam()
        moment = moments(optimizer, variables[0])[i]
        np.testing.assert_allclose(moment, [[2.0, 1.0], [4.0, 1.0]][i])
        assert moment.value.handle.dtype == tf.resource


def test_clipping():
    from resnet.internals.keras import clip

    with needed("keras", "Optimizer._clip_gradients", "clipping the sum over replicas, not each one's part"):
        optimizer = keras.optimizers.SGD(global_clipnorm=1.0)
        clipped = clip(optimizer, [tf.constant([3.0]), tf.constant([4.0])])
        np.testing.assert_allclose(np.concatenate(clipped), [0.6, 0.8])


@pytest.mark.slow
def test_the_coordination_service():
    """In a process of its own, where TensorFlow does not run yet."""
    code = """
from tensorflow.python.eager import context
from resnet.internals.tensorflow import coordinate
coordinate("/job:chief/replica:0/task:0", {"chief": 1, "worker": 3}, 20.0)
settings = context.context().coordination_service
assert settings.heartbeat_timeout_in_ms == settings.shutdown_barrier_timeout_in_ms == 20000, settings
assert [(job.name, job.num_tasks) for job in settings.coordinated_job_list] == [("chief", 1), ("worker", 3)]
"""
    with needed("tensorflow", "Context.configure_coordination_service", "noticing that a worker is gone"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-500:]


def test_the_unpickler_is_a_table_of_operations_that_can_be_left_out():
    import io
    import pickle

    from resnet.internals.pickle import Unpickler

    class OnlyNone(Unpickler):
        dispatch = {code: Unpickler.dispatch[code] for code in b"N.\x80"}  # NONE, STOP, PROTO

    with needed("pickle", "pickle._Unpickler.dispatch", "reading CIFAR's pickles without calling a function"):
        assert OnlyNone(io.BytesIO(pickle.dumps(None, 2))).load() is None
        with pytest.raises(KeyError):
            OnlyNone(io.BytesIO(pickle.dumps(True, 2))).load()


def test_the_unpickler_costs_no_tensorflow():
    code = "import sys, resnet.internals.pickle; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_variables_of_a_layer():
    from resnet.internals.keras import own_variables

    use = "the order of a loop's stacked weights, which freezing must not change"
    with needed("keras", "Layer._trainable_variables, Layer._non_trainable_variables", use):
        layer = keras.layers.BatchNormalization()
        layer.build((None, 3))
        layer.trainable = False
        trained, others = own_variables(layer)
        assert [v.name for v in trained] == ["gamma", "beta"]
        assert [v.name for v in others] == ["moving_mean", "moving_variance"]


def test_all_layers_of_a_model():
    with needed("keras", "Model._flatten_layers", "users who freeze layers, those of a loop among them"):
        inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        outer = keras.Sequential([keras.Input((3,)), inner])
        assert inner.layers[0] in outer._flatten_layers()
