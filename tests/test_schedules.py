from pathlib import Path

import keras
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from resnet.errors import UserError
from resnet.training.rate import Rate
from resnet.training.schedules import Constant, Cosine, OneCycle, Plateau, Steps, Warmup

SEED = Steps([80, 120, 160, 180], [0.1, 0.01, 0.001, 0.0005])


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1), (79.9, 1), (80, 0.1), (120, 0.01), (160, 0.001), (180, 0.0005)]
)
def test_steps(epoch, factor):
    assert SEED(epoch) == factor


def test_cosine_is_keras():
    schedule, reference = Cosine(30, 0.1), keras.optimizers.schedules.CosineDecay(1.0, 30, alpha=0.1)
    for epoch in np.linspace(0, 40, 17):
        assert schedule(epoch) == pytest.approx(float(reference(epoch)), abs=1e-6)


def test_one_cycle_rises_and_falls():
    schedule = OneCycle(20, peak=0.25, start=0.1, final=0.02)
    epochs = np.linspace(0, 25, 51)
    expected = np.interp(epochs, [0, 5, 20], [0.1, 1, 0.02])
    np.testing.assert_allclose([schedule(epoch) for epoch in epochs], expected)


def test_one_cycle_falls_as_a_cosine():
    schedule = OneCycle(20, peak=0.25, start=0.1, final=0.02, fall="cosine")
    reference = keras.optimizers.schedules.CosineDecay(0.1, 15, alpha=0.02, warmup_target=1.0, warmup_steps=5)
    for epoch in np.linspace(0, 25, 26):
        assert schedule(epoch) == pytest.approx(float(reference(epoch)), abs=1e-6)


def test_one_cycle_without_a_rise_starts_at_the_peak():
    assert OneCycle(20, peak=0, start=0, final=0)(0) == 1


def test_warmup():
    linear, constant = (Warmup(SEED, 100, 0.1, rise) for rise in ("linear", "constant"))
    assert [linear(epoch) for epoch in (0, 50, 100, 120)] == pytest.approx([0.1, 0.55, 0.1, 0.01])
    assert [constant(epoch) for epoch in (0, 79, 80, 100)] == pytest.approx([0.1, 0.1, 0.01, 0.1])


@pytest.mark.parametrize(
    "build",
    [
        lambda: Cosine(0),
        lambda: OneCycle(10, peak=1, start=0, final=0),
        lambda: OneCycle(10, peak=0.5, start=0, final=0, fall="steps"),
        lambda: Warmup(SEED, 5, 1),
        lambda: Warmup(SEED, 5, 0.1, rise="cosine"),
    ],
)
def test_impossible_schedules(build):
    with pytest.raises(ValueError, match="schedule"):
        build()


@pytest.mark.parametrize(
    ("images", "warm", "overrides"),
    [(50_000, 400, []), (45_000, 361, ["schedule.schedule.boundaries=[90.909,136.363]"])],
)
def test_the_papers_steps(images, warm, overrides):
    """He et al. 2015, section 4.2: some 400 steps at 0.01, then 0.1, a tenth after 32k and 48k steps."""
    conf = Path(__file__).parent.parent / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        schedule = instantiate(compose("config", ["schedule=paper_warmup", *overrides]).schedule)
    steps_per_epoch = -(-images // 128)
    rates = np.array([0.1 * schedule(step / steps_per_epoch) for step in range(64_000)])
    begins = 1 + np.flatnonzero(np.diff(rates))
    assert begins.tolist() == [warm, 32_000, 48_000]
    np.testing.assert_allclose(rates[[0, *begins]], [0.01, 0.1, 0.01, 0.001])


def rate_after(losses, patience=2, min_lr=0.5e-6):
    plateau = Plateau(patience=patience, min_lr=min_lr)
    rate = Rate(keras.optimizers.SGD(1e-3), SEED, plateau)
    for epoch, loss in enumerate(losses):
        plateau.update(loss, rate(epoch)["learning_rate"])
    return rate


def test_a_plateau_still_counts_after_the_next_epoch_begins():
    rate = rate_after([1.0, 1.0, 1.0])
    assert rate(3)["learning_rate"] == pytest.approx(1e-3 * np.sqrt(0.1))
    assert rate(4)["learning_rate"] == pytest.approx(1e-3 * np.sqrt(0.1))


def test_a_step_of_the_schedule_keeps_the_plateaus_factor():
    assert rate_after([1.0] * 3)(80)["learning_rate"] == pytest.approx(1e-4 * np.sqrt(0.1))


def test_min_lr_bounds_the_product():
    rate = rate_after([1.0] * 40, min_lr=1e-5)
    assert rate(41)["learning_rate"] == pytest.approx(1e-5)
    assert rate(170)["learning_rate"] == pytest.approx(1e-6)  # the schedule alone is below it


def test_what_a_callback_assigns_is_a_factor_that_stays():
    optimizer = keras.optimizers.SGD(1e-3)
    rate = Rate(optimizer, SEED, growth=2.0)
    rate.assign(0)
    rate.honour()
    assert "callback_factor" not in rate(0)  # nobody has touched it
    optimizer.learning_rate.assign(5e-4)
    rate.honour()
    assert rate(0)["callback_factor"] == pytest.approx(0.25)
    assert rate(80)["learning_rate"] == pytest.approx(0.1 * 5e-4)
    optimizer.learning_rate.assign(rate(80)["learning_rate"])
    rate.stepped(80)
    rate.honour()
    assert rate(0)["callback_factor"] == pytest.approx(0.25)
    rate.give_back()
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)


def test_a_callback_may_begin_at_a_rate_of_zero():
    optimizer = keras.optimizers.SGD(0.1)
    rate = Rate(optimizer, Constant())
    for wanted in (0.0, 0.0, 0.05):
        rate.assign(0)
        optimizer.learning_rate.assign(wanted)
        rate.honour()
        assert rate(0)["learning_rate"] == pytest.approx(wanted)


def test_a_callback_cannot_raise_what_the_schedule_has_at_zero():
    optimizer = keras.optimizers.SGD(0.1)
    rate = Rate(optimizer, lambda epoch: 0.0)
    rate.assign(0)
    optimizer.learning_rate.assign(0.05)
    with pytest.raises(UserError, match="learning rate to 0.05 where .* 0\ngive schedule=constant"):
        rate.honour()


def test_cooldown_waits():
    plateau = Plateau(patience=1, cooldown=3)
    reductions = [plateau.update(1.0, 1e-3) for _ in range(8)]
    assert reductions == [False, True, False, False, True, False, False, True]
