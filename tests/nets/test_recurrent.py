"""Recurrent nets: their state, the start of their gates, and a character net read in parts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from isotrain.errors import BadOption, UnknownName
from isotrain.nets.recurrent import CELLS, CharacterNet, Recurrent, chrono


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_sequence_read_in_two_parts_is_the_sequence(cell: str, layers: int) -> None:
    torch.manual_seed(0)
    net = Recurrent(cell, 3, 5, layers).double()
    x = torch.randn(4, 9, 3, dtype=torch.float64)
    whole, last = net(x, net.begin(x))
    first, state = net(x[:, :4])
    second, end = net(x[:, 4:], state)
    assert state.shape == (4, net.rows, 5)
    assert torch.equal(torch.cat([first, second], 1), whole)
    assert torch.equal(end, last)


def test_the_state_belongs_to_its_row() -> None:
    """Rows may change places, which beam search and a text's rows need."""
    torch.manual_seed(0)
    net = CharacterNet(7, hidden=6, layers=2)
    symbols, turned = torch.randint(0, 7, (3, 5)), torch.tensor([2, 0, 1])
    _, state = net(symbols)
    logits, _ = net(symbols, state)
    other, _ = net(symbols[turned], state[turned])
    assert torch.allclose(other, logits[turned], atol=1e-6)


def test_chrono_draws_log_uniform_memories() -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(2, 4000, num_layers=1)
    chrono(layer, 100.0)
    forget = layer.bias_ih_l0[4000:8000]
    # exp(b) is uniform on [1, 99]: mean 50, and its quartiles.
    memory = forget.detach().exp()
    assert float(memory.mean()) == pytest.approx(50, abs=1.5)
    assert float(memory.quantile(0.25)) == pytest.approx(25.5, abs=2)
    assert float(memory.min()) >= 1 and float(memory.max()) <= 99
    assert torch.equal(layer.bias_ih_l0[:4000], -forget)
    assert not layer.bias_hh_l0[:8000].any()


def test_chrono_keeps_what_is_remembered_as_long_as_it_says() -> None:
    """A unit with forget bias log(T - 1) and nothing coming in loses 1/e of its cell in about T steps."""
    for kind, scale in ((nn.LSTM, 200.0), (nn.GRU, 200.0)):
        torch.manual_seed(1)
        layer = kind(1, 500)
        chrono(layer, scale)
        keep = layer.bias_ih_l0[500:1000].detach().sigmoid()  # the share kept at a step, h = 0 and x = 0
        times = 1 / (1 - keep)
        assert float(times.max()) == pytest.approx(scale, rel=0.05)
        assert float(times.min()) < 5


def test_a_plain_layer_and_a_short_time_scale_stay_as_drawn() -> None:
    for layer, scale in ((nn.RNN(2, 3), 50.0), (nn.LSTM(2, 3), 2.0)):
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        chrono(layer, scale)
        assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_both_directions_and_all_layers_begin_so() -> None:
    layer = nn.GRU(2, 3, num_layers=2, bidirectional=True)
    chrono(layer, 1000.0)
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        assert (getattr(layer, f"bias_ih{suffix}")[3:6] >= 0).all()
        assert not getattr(layer, f"bias_hh{suffix}")[:6].any()


def test_what_is_refused() -> None:
    with pytest.raises(UnknownName, match="cell"):
        Recurrent("lstn", 2, 3)
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(BadOption, match="time scale"):
            chrono(nn.LSTM(2, 3), scale)
