"""What happens inside a recurrent layer while it reads: its gates and its memory at each time, computed step by step.

Torch's native kernels hand out a layer's outputs alone. Here the layer is read again with its own weights, without
gradients; the outputs are the native ones to rounding.

Letters: t time, f feature, h hidden unit, k row of a state (nets/recurrent.py), g unit of a gate.

Source: Hochreiter and Schmidhuber 1997 (LSTM); Cho et al. 2014, arXiv:1406.1078 (GRU), with torch's place of the reset
gate; Tallec and Ollivier 2018, arXiv:1804.11188, section 2 (a gate as the inverse of a time).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isotrain.errors import BadOption
from isotrain.nets.recurrent import Recurrent

KEEPING = ("forget", "update")
"""The gates that are 1 where a unit keeps what it holds: an LSTM's and a GRU's."""


@torch.no_grad()
def activations(recurrent: Recurrent, inputs_1tf: Tensor, state_1kh: Tensor | None = None) -> list[dict[str, Tensor]]:
    """Gates and memory of each layer, the lowest first, while one sequence is read.

    An LSTM has "input", "forget" and "output", all in [0, 1], its "cell", and its "state", which it hands on; a GRU
    "reset" and "update", in [0, 1], and its "state"; a plain layer its "state". What is left out while training
    (dropout) is not left out here.

    Args:
        recurrent: the layers.
        inputs_1tf: what they read, [1, t, f].
        state_1kh: before it, [1, k, h]; None: that of `Recurrent.begin`.

    Returns:
        For each layer, by name, [t, h].

    Raises:
        BadOption: several sequences.

    >>> layer = Recurrent("lstm", 2, 3)
    >>> inside = activations(layer, torch.ones(1, 4, 2))[0]
    >>> list(inside), list(inside["cell"].shape)
    (['input', 'forget', 'output', 'cell', 'state'], [4, 3])
    >>> torch.allclose(inside["state"], layer(torch.ones(1, 4, 2))[0][0], atol=1e-6)
    True
    """
    if len(inputs_1tf) != 1:
        raise BadOption(f"{len(inputs_1tf)} sequences at once: give them one by one, as [1, time, features].")
    state_kh = (recurrent.begin(inputs_1tf) if state_1kh is None else state_1kh)[0]
    core, x_tf, layers = recurrent.core, inputs_1tf[0], []
    for layer in range(core.num_layers):
        weights = [getattr(core, f"{name}_l{layer}") for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
        inside = _layer(
            core, x_tf @ weights[0].T + weights[1], weights[2], weights[3], state_kh[layer :: core.num_layers]
        )
        layers.append(inside)
        x_tf = inside["state"]
    return layers


def time_scales(inside: dict[str, Tensor]) -> Tensor:
    """For how many steps each unit of a layer holds what it took up, on average: [h].

    That is 1 / (1 - f) of the mean f of its forget gate (of a GRU its update gate, which torch lets keep where it is
    open): a memory that loses the share 1 - f at every step.

    Args:
        inside: of one layer, from `activations`.

    Raises:
        BadOption: a plain recurrent layer, which has no such gate.

    >>> time_scales({"forget": torch.tensor([[0.5, 1.0], [0.5, 0.5]])})
    tensor([2., 4.])
    """
    for name in KEEPING:
        if name in inside:
            return 1 / (1 - inside[name].mean(0))
    raise BadOption(f"a layer with {', '.join(inside)} has no gate that keeps, so its units have no time of their own.")


def _layer(core: nn.RNNBase, read_tg: Tensor, weight_gh: Tensor, bias_g: Tensor, state_kh: Tensor) -> dict[str, Tensor]:
    """One layer, given what its gates get of the inputs."""
    state_h, cell_h = state_kh[0], state_kh[-1]
    times: list[dict[str, Tensor]] = []
    for read_g in read_tg:
        back_g = weight_gh @ state_h + bias_g
        if isinstance(core, nn.LSTM):
            enter, forget, new, output = (read_g + back_g).chunk(4)
            enter, forget, output = enter.sigmoid(), forget.sigmoid(), output.sigmoid()
            cell_h = forget * cell_h + enter * new.tanh()
            state_h = output * cell_h.tanh()
            times.append({"input": enter, "forget": forget, "output": output, "cell": cell_h, "state": state_h})
        elif isinstance(core, nn.GRU):
            (reset, update, new), (reset_back, update_back, new_back) = read_g.chunk(3), back_g.chunk(3)
            reset, update = (reset + reset_back).sigmoid(), (update + update_back).sigmoid()
            state_h = update * state_h + (1 - update) * (new + reset * new_back).tanh()
            times.append({"reset": reset, "update": update, "state": state_h})
        else:
            state_h = (read_g + back_g).tanh()
            times.append({"state": state_h})
    return {name: torch.stack([time[name] for time in times]) for name in times[0]}
