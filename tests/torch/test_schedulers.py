"""Every scheduler of torch, on the natural length and on the plain rule."""

from __future__ import annotations

import inspect

import pytest
from small_problem import net, same, snapshot, step
from torch.optim import lr_scheduler as schedules

from isotrain import Riemannian

SCHEDULERS = {
    "LambdaLR": lambda o: schedules.LambdaLR(o, lambda turn: 0.9**turn),
    "MultiplicativeLR": lambda o: schedules.MultiplicativeLR(o, lambda turn: 0.9),
    "StepLR": lambda o: schedules.StepLR(o, 2),
    "MultiStepLR": lambda o: schedules.MultiStepLR(o, [1, 3]),
    "ConstantLR": lambda o: schedules.ConstantLR(o, 0.5, total_iters=2),
    "LinearLR": lambda o: schedules.LinearLR(o, 0.1, total_iters=3),
    "ExponentialLR": lambda o: schedules.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda o: schedules.PolynomialLR(o, 4),
    "CosineAnnealingLR": lambda o: schedules.CosineAnnealingLR(o, 4),
    "CosineAnnealingWarmRestarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 2),
    "CyclicLR": lambda o: schedules.CyclicLR(o, 0.001, 0.1, step_size_up=2),
    "OneCycleLR": lambda o: schedules.OneCycleLR(o, 0.1, total_steps=8),
    "ReduceLROnPlateau": lambda o: schedules.ReduceLROnPlateau(o, patience=0, threshold=10.0),
    "SequentialLR": lambda o: schedules.SequentialLR(
        o, [schedules.ConstantLR(o, 0.1, 2), schedules.ExponentialLR(o, 0.5)], [2]
    ),
    "ChainedScheduler": lambda o: schedules.ChainedScheduler(
        [schedules.ConstantLR(o, 0.1, 2), schedules.ExponentialLR(o, 0.5)]
    ),
}


def test_the_table_lists_torchs():
    known = {
        name
        for name, kind in vars(schedules).items()
        if inspect.isclass(kind) and issubclass(kind, schedules.LRScheduler) and not name.startswith("_")
    }
    assert known - {"LRScheduler"} == set(SCHEDULERS)


@pytest.mark.parametrize("lr", [None, 0.01], ids=["natural", "plain-rule"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_sets_the_rate_of_every_step_and_resumes(name, lr):
    def start(seed):
        model = net(seed)
        optimizer = Riemannian(model, lr=lr, damping=0.1)
        return model, optimizer, SCHEDULERS[name](optimizer)

    def go(model, optimizer, scheduler, turns):
        losses, rates = [], []
        for turn in turns:
            rates.append(optimizer.param_groups[0]["lr"])
            losses.append(step(model, optimizer, turn))
            scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
        return losses, rates

    first = start(0)
    _, rates = go(*first, range(3))
    saved = [part.state_dict() for part in first]
    again = start(1)
    for part, state in zip(again, saved, strict=True):
        part.load_state_dict(state)
    rest = go(*first, range(3, 6))
    assert go(*again, range(3, 6)) == rest
    assert same(snapshot(again[0]), snapshot(first[0]))
    assert len(set(rates + rest[1])) > 1


@pytest.mark.parametrize("lr", [None, 0.01], ids=["natural", "plain-rule"])
def test_the_rate_multiplies_the_step(lr):
    moved = []
    for factor in (1.0, 0.25):
        model = net()
        before = model[0].weight.detach().clone()
        optimizer = Riemannian(model, lr=lr, damping=0.1)
        optimizer.param_groups[0]["lr"] *= factor
        step(model, optimizer, 0)
        moved.append((model[0].weight - before) / factor)
    assert (moved[0] - moved[1]).abs().max() < 1e-4 * moved[0].abs().max()
