import keras
import numpy as np
import pytest

from resnet.models import resnet_v1, resnet_v2


@pytest.mark.parametrize(
    ("family", "depth", "parameters"), [(resnet_v1, 20, 274_442), (resnet_v1, 110, 1_742_762)]
)
def test_parameters_are_the_keras_examples(family, depth, parameters):
    assert family((32, 32, 3), 10, depth=depth).count_params() == parameters


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "parameters"), [(110, 3_323_210), (164, 4_972_682)])
def test_parameters_of_v2(depth, parameters):
    assert resnet_v2((32, 32, 3), 10, depth=depth).count_params() == parameters


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (56, 853_018)])
def test_trainable_parameters_are_the_papers(depth, parameters):
    model = resnet_v1((32, 32, 3), 10, depth=depth, shortcut="identity", conv_bias=False)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == parameters


@pytest.mark.parametrize("family", [resnet_v1, resnet_v2])
@pytest.mark.parametrize("shortcut", ["projection", "identity"])
@pytest.mark.parametrize("shape", [(29, 35, 1), (8, 8, 4)])
def test_odd_inputs(family, shortcut, shape):
    model = family(shape, 7, depth=11 if family is resnet_v2 else 8, shortcut=shortcut)
    assert model(np.zeros((2, *shape), np.float32)).shape == (2, 7)


@pytest.mark.parametrize(("family", "depth"), [(resnet_v1, 21), (resnet_v2, 111), (resnet_v1, 2)])
def test_impossible_depth(family, depth):
    with pytest.raises(ValueError, match="n\\+2"):
        family((32, 32, 3), 10, depth=depth)


def test_saved_model_loads_in_safe_mode(tmp_path):
    model = resnet_v2((16, 16, 3), 10, depth=11, shortcut="identity")
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(model(images), again(images))
