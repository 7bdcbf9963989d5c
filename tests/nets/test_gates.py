"""The inside of recurrent layers: what was computed step by step is what the native kernels computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from isotrain.errors import BadOption
from isotrain.nets.gates import activations, time_scales
from isotrain.nets.recurrent import CELLS, Recurrent

NAMES = {
    "lstm": ["input", "forget", "output", "cell", "state"],
    "gru": ["reset", "update", "state"],
    "rnn": ["state"],
}


def drawn(cell: str, layers: int = 1, time_scale: float | None = None) -> tuple[Recurrent, Tensor, Tensor]:
    net = Recurrent(cell, 3, 5, layers, time_scale=time_scale).double()
    return net, torch.randn(1, 11, 3).double(), torch.randn(1, net.rows, 5).double()


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_the_states_are_the_native_ones(cell: str, layers: int, begun: bool) -> None:
    net, x_1tf, state_1kh = drawn(cell, layers)
    state = state_1kh if begun else None
    inside = activations(net, x_1tf, state)
    assert [list(layer) for layer in inside] == [NAMES[cell]] * layers
    output_1th, last_1kh = net(x_1tf, state)
    torch.testing.assert_close(inside[-1]["state"], output_1th[0], atol=1e-12, rtol=0)
    ends = [layer["state"][-1] for layer in inside] + [layer["cell"][-1] for layer in inside if cell == "lstm"]
    torch.testing.assert_close(torch.stack(ends), last_1kh[0], atol=1e-12, rtol=0)
    assert not inside[-1]["state"].requires_grad


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_moment_of_the_memory_is_the_native_one(cell: str) -> None:
    """Reading a symbol at a time, the native layer hands out its memory after each."""
    net, x_1tf, state = drawn(cell, layers=2)
    inside = activations(net, x_1tf, state)
    for t in range(x_1tf.shape[1]):
        _, state = net(x_1tf[:, t : t + 1], state)
        for layer in range(2):
            torch.testing.assert_close(inside[layer]["state"][t], state[0, layer], atol=1e-12, rtol=0)
            if cell == "lstm":
                torch.testing.assert_close(inside[layer]["cell"][t], state[0, 2 + layer], atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("cell", "gate", "part"),
    [("lstm", "input", 0), ("lstm", "forget", 1), ("lstm", "output", 3), ("gru", "reset", 0), ("gru", "update", 1)],
)
def test_a_gate_bears_its_own_name(cell: str, gate: str, part: int) -> None:
    """Torch's order of the gates: a bias of 30 opens this one and no other."""
    net, x_1tf, _ = drawn(cell)
    with torch.no_grad():
        net.core.bias_ih_l0[5 * part : 5 * (part + 1)] = 30
    inside = activations(net, x_1tf)[0]
    for name, gate_th in inside.items():
        if name in ("cell", "state"):
            continue
        assert bool((gate_th > 1 - 1e-9).all()) == (name == gate)
        assert gate_th.min() >= 0 and gate_th.max() <= 1


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_unit_holds_on_for_its_time(cell: str) -> None:
    """A memory that is 1 at first and gets nothing new is down to 1/e after about the time scale."""
    net = Recurrent(cell, 1, 4).double()
    times = torch.tensor([5.0, 10.0, 20.0, 40.0]).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
        net.core.bias_ih_l0[4:8] = (times - 1).log()  # the sigmoid of it is 1 - 1 / time
    inside = activations(net, torch.zeros(1, 40, 1).double(), torch.ones(1, net.rows, 4).double())[0]
    torch.testing.assert_close(time_scales(inside), times)
    memory_th = inside["cell" if cell == "lstm" else "state"]
    for unit, time in enumerate([5, 10, 20, 40]):
        torch.testing.assert_close(float(memory_th[time - 1, unit]), (1 - 1 / time) ** time, atol=1e-12, rtol=0)


def test_a_chrono_start_has_memories_up_to_its_time() -> None:
    net = Recurrent("lstm", 3, 64, time_scale=100).double()
    scales = time_scales(activations(net, torch.zeros(1, 5, 3).double())[0])
    assert 2 < scales.min() < 20 and 60 < scales.max() < 160


def test_what_has_no_answer_is_refused() -> None:
    net, x_1tf, _ = drawn("rnn")
    with pytest.raises(BadOption, match="no gate that keeps"):
        time_scales(activations(net, x_1tf)[0])
    with pytest.raises(BadOption, match="2 sequences"):
        activations(net, x_1tf.expand(2, -1, -1))
