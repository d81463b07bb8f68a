"""What TensorBoard finds in a run, and what its pages show of a sweep in a real browser."""

import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray

import resnet
from resnet.augmentation import shift_flip
from resnet.models import resnet_v1
from resnet.run.callbacks import Histograms
from tests.entry_point import DRAWN, result, train
from tests.test_trainer import small_digits

PROFILE = ("callbacks=[default,profile]", "callbacks.profile.steps=[3,6]")
WAIT = 90  # seconds at most, for a page to show what it should


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep")
    options = "trainer.epochs=2", "hydra.sweep.dir=sweep"
    done = train("-m", *DRAWN, *options, "optimizer.learning_rate=0.001,0.002", cwd=directory)
    assert done.returncode == 0, done.stderr
    return directory / "sweep"


def events(directory):
    accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def values(accumulator, tag):
    return [(event.step, make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]


@pytest.mark.slow
def test_pictures_lie_in_the_directory_and_in_tensorboard(sweep):
    run = sweep / "0"
    of_train, of_test = (events(run / "tensorboard" / split) for split in ("train", "test"))
    shown = dict.fromkeys(("samples", "augmented", "curves"), of_train)
    shown |= dict.fromkeys(("mistakes", "confusion"), of_test)
    for name, accumulator in shown.items():
        ((_, (_, _, data)),) = values(accumulator, name)
        assert data == (run / f"{name}.png").read_bytes()
    assert (run / "samples.png").read_bytes() != (run / "augmented.png").read_bytes()
    assert {"architecture.svg", "class_names.json"} <= {path.name for path in run.iterdir()}


@pytest.mark.slow
def test_the_test_images_are_scored_once_where_others_validate(sweep):
    ((step, accuracy),) = values(events(sweep / "0" / "tensorboard" / "test"), "accuracy")
    assert step == 2
    assert accuracy == pytest.approx(result(sweep / "0")["test"]["accuracy"])


@pytest.mark.slow
def test_every_job_is_a_row_of_hparams(sweep):
    found = []
    for job in "01":
        content = events(sweep / job / "tensorboard").SummaryMetadata(metadata.SESSION_START_INFO_TAG)
        session = metadata.parse_session_start_info_plugin_data(content.plugin_data.content)
        found.append({name: value.number_value for name, value in session.hparams.items()})
    assert [row["optimizer.learning_rate"] for row in found] == [0.001, 0.002]
    assert found[0].keys() == {
        "seed", "data", "data.train_size", "data.test_size", "data.validation_split", "model.depth",
        "trainer.epochs", "optimizer.learning_rate",
    }  # fmt: skip


def small(callbacks, directory, **options):
    keras.utils.set_random_seed(3)
    dataset = small_digits()
    model = resnet_v1(dataset.image_shape, 10, depth=14, **options)
    with resnet.Run(directory) as run:
        trained = {"augmentation": shift_flip(), "epochs": 2, "batch_size": 50}
        return resnet.fit(model, dataset, callbacks=callbacks, run=run, **trained)


@pytest.mark.slow
def test_histograms_of_every_weight_and_gradient_leave_the_training_alone(tmp_path):
    """Gates that count their steps and moving statistics are as if nobody had looked."""
    plain = small({}, tmp_path / "plain", survival=0.8)
    watched = small({"histograms": Histograms()}, tmp_path / "watched", survival=0.8)
    for weight, expected in zip(watched.model.weights, plain.model.weights, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-4)
    found = events(tmp_path / "watched" / "tensorboard" / "histograms")
    tags = found.Tags()["tensors"]
    assert len(tags) == 2 * len(watched.model.trainable_variables)
    for variable in watched.model.trainable_variables:
        (first, last) = values(found, f"weights/{variable.path}")
        assert (first[0], last[0]) == (1, 2)
        buckets = last[1]
        assert buckets[:, 2].sum() == np.prod(variable.shape)
        assert buckets[:, 1].max() == pytest.approx(np.array(variable).max(), rel=1e-5)
        assert len(values(found, f"gradients/{variable.path}")) == 2


@pytest.mark.slow
def test_a_profile_holds_its_steps(tmp_path):
    done = train(*DRAWN, "trainer.epochs=2", *PROFILE, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "profiled steps 3 to 6" in done.stdout
    (profile,) = (tmp_path / "run" / "tensorboard" / "plugins" / "profile").glob("*/*.xplane.pb")
    data = profile.read_bytes()
    assert b"train_steps" in data
    assert b"Conv2D" in data


@contextmanager
def tensorboard(logdir):
    """The address of a TensorBoard on loopback."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0"]
    server = subprocess.Popen([*command, "--host", "localhost"], stderr=subprocess.PIPE, text=True)
    try:
        yield next(m[0] for line in server.stderr if (m := re.search(r"http://\S*?:\d+", line)))
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("there is no chromium with its chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1400,900"):
        options.add_argument(f"--{argument}")
    service = webdriver.chrome.service.Service(driver)
    with webdriver.Chrome(options, service) as started:
        yield started


# TensorBoard's pages are trees of shadow roots, which neither page source nor selectors look into.
NODES = """
const nodes = [document.body];
for (const node of nodes) nodes.push(...(node.shadowRoot?.children ?? []), ...node.children);
"""
TEXT = NODES + "return nodes.flatMap(n => [...n.childNodes]).map(n => n.nodeValue ?? '').join(' ')"
IMAGES = NODES + "return nodes.filter(n => n.nodeName == 'IMG' && n.naturalWidth > 99).map(n => n.src)"


def wait_for(look, shows):
    deadline = time.time() + WAIT
    while not shows(seen := look()):
        assert time.time() < deadline, seen
        time.sleep(1)
    return seen


@pytest.mark.slow
def test_a_browser_shows_the_sweep(sweep, browser):
    with tensorboard(sweep) as address:

        def page(tab, *words):
            browser.get("about:blank")
            browser.get(f"{address}/#{tab}")
            wait_for(lambda: browser.execute_script(TEXT), lambda text: all(word in text for word in words))

        runs = [f"{job}/tensorboard/{split}" for job in "01" for split in ("train", "validation", "test")]
        page("timeseries", *runs, "accuracy", "loss", "rate", "samples", "confusion")
        accuracy = result(sweep / "1")["test"]["accuracy"]
        page("hparams", "optimizer.learning_rate", "0.0010000", "0.0020000", f"{accuracy:.5g}")
        page("images", "samples", "augmented", "confusion", "mistakes")
        sources = wait_for(lambda: browser.execute_script(IMAGES), lambda images: len(images) >= 2)
        assert all("/data/plugin/images/" in source for source in sources)
