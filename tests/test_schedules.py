import numpy as np
import pytest

from resnet.schedules import Plateau, Steps
from resnet.trainer import Trainer

SEED = Steps([80, 120, 160, 180], [0.1, 0.01, 0.001, 0.0005])


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1), (79.9, 1), (80, 0.1), (120, 0.01), (160, 0.001), (180, 0.0005)]
)
def test_steps(epoch, factor):
    assert SEED(epoch) == factor


def trainer_after(losses, patience=2, min_lr=0.5e-6):
    trainer = Trainer(200, 32, plateau=Plateau(patience=patience, min_lr=min_lr))
    trainer.base_rate, trainer.schedule = 1e-3, SEED
    for epoch, loss in enumerate(losses):
        trainer.plateau.update(loss, trainer.rate(epoch)["learning_rate"])
    return trainer


def test_a_plateau_still_counts_after_the_next_epoch_begins():
    trainer = trainer_after([1.0, 1.0, 1.0])
    assert trainer.rate(3)["learning_rate"] == pytest.approx(1e-3 * np.sqrt(0.1))
    assert trainer.rate(4)["learning_rate"] == pytest.approx(1e-3 * np.sqrt(0.1))


def test_a_step_of_the_schedule_keeps_the_plateaus_factor():
    assert trainer_after([1.0] * 3).rate(80)["learning_rate"] == pytest.approx(1e-4 * np.sqrt(0.1))


def test_min_lr_bounds_the_product():
    trainer = trainer_after([1.0] * 40, min_lr=1e-5)
    assert trainer.rate(41)["learning_rate"] == pytest.approx(1e-5)
    assert trainer.rate(170)["learning_rate"] == pytest.approx(1e-6)  # the schedule alone is below it


def test_cooldown_waits():
    plateau = Plateau(patience=1, cooldown=3)
    reductions = [plateau.update(1.0, 1e-3) for _ in range(8)]
    assert reductions == [False, True, False, False, True, False, False, True]
