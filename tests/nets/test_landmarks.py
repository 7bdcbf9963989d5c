"""The landmarks' net: cells and places, and that both agree."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotrain import Riemannian
from isotrain.likelihood import Bernoulli, Categorical
from isotrain.nets.landmarks import CELL, LandmarkNet, cells_of, places_of


def centre(cells: torch.Tensor, side: int) -> torch.Tensor:
    """The middles of cells, in sides of the picture."""
    return torch.stack((cells % side, cells // side), -1).add(0.5).double() / side


@given(x=st.floats(0.1, 0.9), y=st.floats(0.1, 0.9), seed=st.integers(0, 99))
def test_rounded_at_random_the_mean_of_the_cells_is_the_place(x, y, seed):
    side, draws = 8, 4000
    point = torch.tensor([x, y]).expand(draws, 1, 2)
    cells = cells_of(point, side, torch.Generator().manual_seed(seed))[:, 0]
    assert len(cells.unique()) <= 4  # the four nearest
    off = (centre(cells, side).mean(0) - torch.tensor([x, y])).abs()
    assert off.max() < 5 * 0.5 / side / draws**0.5  # the spread of a draw is half a cell at most


@given(x=st.floats(0, 0.999), y=st.floats(0, 0.999))
def test_without_a_generator_it_is_the_cell_around_the_place(x, y):
    cell = int(cells_of(torch.tensor([[[x, y]]]), 8, None))
    assert (torch.tensor([x, y]) - centre(torch.tensor(cell), 8)).abs().max() <= 0.5 / 8 + 1e-6


def test_places_beyond_the_grid_have_no_cell():
    beyond = torch.tensor([[[-0.01, 0.5], [0.5, 1.0], [1.2, 0.5], [0.5, -3.0], [0.0, 0.0], [0.999, 0.999]]])
    for generator in (None, torch.Generator().manual_seed(0)):
        assert cells_of(beyond, 4, generator).tolist() == [[-1, -1, -1, -1, 0, 15]]


def test_places_are_the_mean_of_the_softmax_and_know_their_spread():
    side = 6
    heat = torch.randn(2, 3, side * side, dtype=torch.float64)
    places, spread = places_of(heat)
    share, middles = heat.softmax(2), centre(torch.arange(side * side), side)
    for n in range(2):
        for k in range(3):
            mean = sum(share[n, k, c] * middles[c] for c in range(side * side))
            far = sum(share[n, k, c] * (middles[c] - mean).square().sum() for c in range(side * side))
            torch.testing.assert_close(places[n, k], mean)
            torch.testing.assert_close(spread[n, k], far.sqrt(), atol=1e-6, rtol=1e-6)


def test_a_single_cell_is_a_place_without_spread():
    heat = torch.full((1, 1, 25), -200.0, requires_grad=True)
    sharp = heat + 400 * torch.eye(25)[7]
    places, spread = places_of(sharp)
    assert places.tolist() == [[[pytest.approx(0.5), pytest.approx(0.3)]]]
    assert spread.item() < 1e-3
    spread.sum().backward()
    assert heat.grad.isfinite().all()


@pytest.mark.parametrize("size", [32, 96])
def test_shapes(size):
    found = LandmarkNet(5, 0.5, 0.25, (4, 6, 8, 8))(torch.rand(3, 1, size, size))
    assert found["heat"].shape == (3, 5, (size // CELL) ** 2)
    assert found["trust"].shape == (3,)


def test_every_parameter_is_observed_and_one_step_works():
    net = LandmarkNet(5, 0.5, 0.25, (4, 6, 8, 8))
    optimizer = Riemannian(net, likelihood={"heat": Categorical(-1, ignore_index=-1), "trust": Bernoulli()})
    before = [p.detach().clone() for p in net.parameters()]
    out = net(torch.rand(4, 1, 32, 32))
    cells = torch.randint(0, 64, (4, 5))
    cells[0] = -1
    loss = torch.nn.functional.cross_entropy(out["heat"].flatten(0, 1), cells.flatten(), ignore_index=-1)
    loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(out["trust"], torch.ones(4))
    loss.backward()
    optimizer.step()
    assert all(p.isfinite().all() for p in net.parameters())
    assert not any(torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True) if p.grad.any())
    assert not list(net.habits.parameters()) and len(list(net.habits.buffers())) == 3
