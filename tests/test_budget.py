import math

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resnet
from resnet.augmentation import shift_flip
from resnet.data import digits
from resnet.errors import UserError
from resnet.models import resnet_v1
from resnet.training import optimizers
from resnet.training.budget import Pace, steps_within
from resnet.training.freezing import Freeze
from resnet.training.schedules import OneCycle
from resnet.training.trainer import Trainer

positive = st.floats(0.001, 100)


@given(st.floats(1, 1e5), st.builds(Pace, positive, positive, positive), st.integers(1, 500))
def test_one_step_more_would_come_too_late(seconds, pace, steps_per_epoch):
    def needed(steps):
        return steps * pace.step + math.ceil(steps / steps_per_epoch) * pace.epoch + pace.end

    if needed(1) > seconds * 1.001:
        with pytest.raises(UserError, match="minutes more"):
            steps_within(seconds, pace, steps_per_epoch)
    elif needed(1) < seconds * 0.999:
        steps = steps_within(seconds, pace, steps_per_epoch)
        assert needed(steps) <= seconds * 1.001
        assert needed(steps + 1) > seconds * 0.999


def trained(schedule, **options):
    keras.utils.set_random_seed(3)
    dataset = digits(train_size=200, test_size=100, validation_split=0.2, seed=1)
    trainer = Trainer(batch_size=50, **options)
    with trainer.scope():
        model = resnet_v1(dataset.image_shape, 10, depth=8)
        optimizer = optimizers.Adam(1e-3)
    parts = {"schedule": schedule, "augmentation": shift_flip(), "callbacks": []}
    resnet.fit(model, dataset, optimizer, trainer=trainer, **parts)
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("final_weights", ["last", "ema"])
def test_the_time_gives_the_steps_and_the_schedule_is_fitted_to_them(final_weights):
    """What was tried before leaves no trace: it is the training of so many steps under the shorter curve."""
    kept = {"final_weights": final_weights}
    timed = trained(OneCycle(1000), epochs=1000, minutes=0.2, **kept)
    epochs = timed.planned_steps / timed.steps_per_epoch
    told = trained(OneCycle(epochs), epochs=math.ceil(epochs), max_steps=timed.planned_steps, **kept)
    assert timed.step == timed.planned_steps == told.step
    figures = [
        ([epoch["rate"]["learning_rate"] for epoch in run.history], run.history[0]["train"]["loss"])
        for run in (timed, told)
    ]
    assert figures[0][0] == pytest.approx(figures[1][0])
    assert figures[0][1] == pytest.approx(figures[1][1], rel=1e-3)  # rounding grows later
    assert timed.test_looks == told.test_looks == 0


@pytest.mark.slow
def test_a_run_keeps_its_plan():
    before = trained(OneCycle(1000), epochs=1000, minutes=0.15)
    arrays, progress = before.state()

    def compiled(**options):
        trainer = Trainer(batch_size=50, epochs=1000, **options)
        model = resnet_v1(before.dataset.image_shape, 10, depth=8)
        trainer.compile(model, optimizers.Adam(1e-3), before.dataset)
        trainer.restore(arrays, progress)
        return trainer

    assert compiled(minutes=0.15).planned_steps == before.planned_steps
    assert compiled(minutes=None).planned_steps is None
    with pytest.raises(UserError, match="minutes=3, it was 0.15"):
        compiled(minutes=3)


def test_a_thaw_cannot_be_planned():
    trainer = Trainer(batch_size=50, minutes=1)
    dataset = digits(train_size=200, test_size=100, validation_split=0.2, seed=1)
    model = resnet_v1(dataset.image_shape, 10, depth=8)
    with pytest.raises(UserError, match="give trainer.epochs in its place"):
        trainer.compile(model, optimizers.Adam(1e-3), dataset, freeze=Freeze(["stem"], epochs=2))


def test_no_time_at_all():
    with pytest.raises(UserError, match="give .* minutes more"):
        trained(None, minutes=1e-4)
