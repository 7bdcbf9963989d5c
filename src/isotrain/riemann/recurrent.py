"""Recurrent layers. The native kernel trains; in a look its unfused twin shows every gate at every time.

Letters: T time, H hidden size, F input size. A gate's incoming inputs are (x_t, h_{t-1}, 1). PyTorch
keeps two biases where the sum alone matters: the first is trained, the second stays where it is (the
candidate of a GRU excepted, whose two biases differ).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from isotrain.riemann.layers import dense
from isotrain.riemann.units import Bias, Sighting, Units

Note = Callable[[Sighting], None]
RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)
CELLS = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)


def _weights(layer: nn.Module, suffix: str) -> dict[str, nn.Parameter | None]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return {name: getattr(layer, name + suffix, None) for name in names}


def _is_gru(layer: nn.Module) -> bool:
    return isinstance(layer, nn.GRU | nn.GRUCell)


def _suffixes(layer: nn.Module) -> list[tuple[str, int, bool]]:
    """(suffix of the parameter names, depth, reversed) of every direction of every layer; a cell has one."""
    if isinstance(layer, CELLS):
        return [("", 0, False)]
    assert isinstance(layer, nn.RNNBase)
    directions = [("", False), ("_reverse", True)][: 1 + layer.bidirectional]
    return [(f"_l{depth}{tail}", depth, back) for depth in range(layer.num_layers) for tail, back in directions]


def recurrent_units(name: str, layer: nn.Module) -> list[Units]:
    """The gates of every layer and direction; a projection's outputs too."""
    found: list[Units] = []
    for suffix, _, _ in _suffixes(layer):
        w = _weights(layer, suffix)
        ih, hh, b_ih, b_hh, hr = w["weight_ih"], w["weight_hh"], w["bias_ih"], w["bias_hh"], w["weight_hr"]
        assert ih is not None and hh is not None
        label = f"{name}{suffix}" if suffix else name
        if _is_gru(layer):
            h = hh.shape[1]
            both, last = (0, 2 * h), (2 * h, 3 * h)
            gates = Bias(b_ih, 1, both) if b_ih is not None else None
            new_x = Bias(b_ih, 1, last) if b_ih is not None else None
            new_h = Bias(b_hh, 1, last) if b_hh is not None else None
            found += [
                Units(f"{label}.gates", "gates.", (dense(ih, both), dense(hh, both)), gates),
                Units(f"{label}.new_input", "new.", (dense(ih, last),), new_x),
                Units(f"{label}.new_hidden", "new.", (dense(hh, last),), new_h),
            ]
        else:
            bias = Bias(b_ih, 1) if b_ih is not None else None
            found.append(Units(f"{label}.gates", "", (dense(ih), dense(hh)), bias))
        if hr is not None:
            found.append(Units(f"{label}.projection", "", (dense(hr),), None))
    return found


def silent_biases(layer: nn.Module) -> list[nn.Parameter]:
    """Second biases the function does not need: never moved."""
    if _is_gru(layer):
        return []
    kept = [_weights(layer, suffix)["bias_hh"] for suffix, _, _ in _suffixes(layer)]
    return [bias for bias in kept if bias is not None]


def _lead(x: Tensor) -> Tensor:
    """[n,T,f] as [1,n,s,f]."""
    return x.unsqueeze(0)


class _Direction:
    """One direction of one layer, run step by step with every gate in sight."""

    def __init__(self, layer: nn.Module, suffix: str, units: list[Units], note: Note) -> None:
        self.layer, self.units, self.note = layer, units, note
        self.w = _weights(layer, suffix)
        self.relu = getattr(layer, "nonlinearity", "tanh") == "relu" or getattr(layer, "mode", "") == "RNN_RELU"

    def run(
        self, x_nTf: Tensor, h: Tensor, c: Tensor | None, lengths: Tensor | None, back: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Outputs [n,T,H] and the last state; beyond a sequence's length the state stands still."""
        w_ih, w_hh, w_hr = self.w["weight_ih"], self.w["weight_hh"], self.w["weight_hr"]
        assert w_ih is not None and w_hh is not None
        times = x_nTf.shape[1]
        driven_nTk = F.linear(x_nTf, w_ih, self.w["bias_ih"])
        if not driven_nTk.requires_grad:
            driven_nTk = driven_nTk.detach().requires_grad_()
        size = w_hh.shape[0] // 3 if _is_gru(self.layer) else 0
        slack_nTh = driven_nTk.new_zeros(x_nTf.shape[0], times, size, requires_grad=size > 0)
        width = w_hr.shape[0] if w_hr is not None else 0
        slack_nTp = driven_nTk.new_zeros(x_nTf.shape[0], times, width, requires_grad=width > 0)
        previous: list[Tensor] = [h] * times
        outputs: list[Tensor] = [h] * times
        shown: list[Tensor] = [h] * times
        candidates: list[Tensor] = [h] * times
        unprojected: list[Tensor] = []
        for t in reversed(range(times)) if back else range(times):
            previous[t] = h.detach()
            recur = F.linear(h, w_hh, self.w["bias_hh"])
            new_c = c
            if _is_gru(self.layer):
                z = driven_nTk[:, t, : 2 * size] + recur[:, : 2 * size]
                reset, update = z.sigmoid().chunk(2, 1)
                candidate = recur[:, 2 * size :] + slack_nTh[:, t]
                shown[t], candidates[t] = z.detach(), candidate.detach()
                fresh = torch.tanh(driven_nTk[:, t, 2 * size :] + reset * candidate)
                new_h = fresh + update * (h - fresh)
            elif c is not None:
                z = driven_nTk[:, t] + recur
                shown[t] = z.detach()
                enter, forget, cell, leave = z.chunk(4, 1)
                new_c = forget.sigmoid() * c + enter.sigmoid() * cell.tanh()
                new_h = leave.sigmoid() * new_c.tanh()
                if w_hr is not None:
                    unprojected.append(new_h.detach())
                    new_h = F.linear(new_h, w_hr) + slack_nTp[:, t]
            else:
                z = driven_nTk[:, t] + recur
                shown[t] = z.detach()
                new_h = z.relu() if self.relu else z.tanh()
            if lengths is not None:
                alive = (lengths > t).unsqueeze(1)
                new_h = torch.where(alive, new_h, h)
                new_c = None if c is None or new_c is None else torch.where(alive, new_c, c)
            h, c = new_h, new_c
            outputs[t] = h
        self._report(x_nTf, driven_nTk, slack_nTh, previous, shown, candidates, lengths)
        # Time first in memory, as the native layer leaves it: a dropout behind draws its mask in that order.
        result = torch.stack(outputs).transpose(0, 1)
        if w_hr is not None:
            order = unprojected[::-1] if back else unprojected
            full = _settled(torch.stack(order, 1), lengths)
            projected = _settled(result.detach(), lengths)
            self.note(Sighting(self.units[-1], slack_nTp, lambda: _lead(full), _lead, values=lambda: _lead(projected)))
        return result, h, c

    def _report(
        self,
        x: Tensor,
        driven: Tensor,
        slack: Tensor,
        previous: list[Tensor],
        shown: list[Tensor],
        candidates: list[Tensor],
        lengths: Tensor | None,
    ) -> None:
        x, hidden = _settled(x.detach(), lengths), _settled(torch.stack(previous, 1), lengths)
        gates = _settled(torch.stack(shown, 1), lengths)
        joint = self.units[0]

        def inputs() -> Tensor:
            return _lead(torch.cat([x, hidden.to(x)], -1))

        if _is_gru(self.layer):
            h = slack.shape[-1]
            news = _settled(torch.stack(candidates, 1), lengths)
            fresh = _settled(driven.detach()[..., 2 * h :], lengths)
            self.note(Sighting(joint, driven, inputs, lambda y: _lead(y[..., : 2 * h]), values=lambda: _lead(gates)))
            self.note(
                Sighting(
                    self.units[1],
                    driven,
                    lambda: _lead(x),
                    lambda y: _lead(y[..., 2 * h :]),
                    values=lambda: _lead(fresh),
                )
            )
            self.note(Sighting(self.units[2], slack, lambda: _lead(hidden), _lead, values=lambda: _lead(news)))
        else:
            self.note(Sighting(joint, driven, inputs, _lead, values=lambda: _lead(gates)))


def _settled(x_nTf: Tensor, lengths: Tensor | None) -> Tensor:
    """Padded places filled by repeating the sequence: they carry no error and must not show what padding looks like."""
    if lengths is None:
        return x_nTf
    time_nT = torch.arange(x_nTf.shape[1], device=x_nTf.device).unsqueeze(0) % lengths.unsqueeze(1)
    return x_nTf.gather(1, time_nT.unsqueeze(-1).expand_as(x_nTf))


def cell_twin(layer: Any, units: list[Units], note: Note, x: Tensor, hx: Any = None) -> Any:
    """RNNCell, LSTMCell or GRUCell, gate by gate."""
    flat = x.ndim == 1
    x = x.unsqueeze(0) if flat else x
    lstm = isinstance(layer, nn.LSTMCell)
    if hx is None:
        zero = x.new_zeros(x.shape[0], layer.hidden_size)
        hx = (zero, zero) if lstm else zero
    h, c = hx if lstm else (hx, None)
    if flat and h.ndim == 1:
        h, c = h.unsqueeze(0), None if c is None else c.unsqueeze(0)
    _, h, c = _Direction(layer, "", units, note).run(x.unsqueeze(1), h, c, None, back=False)
    h, c = (h.squeeze(0), None if c is None else c.squeeze(0)) if flat else (h, c)
    return (h, c) if lstm else h


def recurrent_twin(layer: Any, units: list[Units], note: Note, x: Any, hx: Any = None) -> Any:
    """RNN, LSTM or GRU with all layers and directions, dropout between layers and packed sequences."""
    packed = x if isinstance(x, PackedSequence) else None
    lengths: Tensor | None = None
    flat = False
    if packed is not None:
        x_nTf, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes), batch_first=True)
        lengths = lengths.to(x_nTf.device)
    else:
        flat = x.ndim == 2
        x_nTf = x.unsqueeze(0) if flat else x if layer.batch_first else x.transpose(0, 1)
    lstm = isinstance(layer, nn.LSTM)
    h_all, c_all = _start(layer, x_nTf, hx, lstm, flat, packed)
    last_h: list[Tensor] = []
    last_c: list[Tensor] = []
    depth_outputs: list[Tensor] = []
    own = iter(units)
    width = (3 if _is_gru(layer) else 1) + (getattr(layer, "proj_size", 0) > 0)
    for place, (suffix, depth, back) in enumerate(_suffixes(layer)):
        if depth and not depth_outputs:
            # Time first, as the native layer draws: the look then drops what the training forward dropped.
            x_nTf = F.dropout(x_nTf.transpose(0, 1).contiguous(), layer.dropout, layer.training).transpose(0, 1)
        mine = [next(own) for _ in range(width)]
        c0 = None if c_all is None else c_all[place]
        out, h, c = _Direction(layer, suffix, mine, note).run(x_nTf, h_all[place], c0, lengths, back)
        last_h.append(h)
        if c is not None:
            last_c.append(c)
        depth_outputs.append(out)
        if len(depth_outputs) == 1 + layer.bidirectional:
            x_nTf = torch.cat([out.transpose(0, 1) for out in depth_outputs], -1).transpose(0, 1)
            depth_outputs = []
    hidden: Any = torch.stack(last_h)
    cells = torch.stack(last_c) if lstm else None
    return _finish(layer, x_nTf, hidden, cells, flat, packed, lengths)


def _start(
    layer: Any, x: Tensor, hx: Any, lstm: bool, flat: bool, packed: PackedSequence | None
) -> tuple[Tensor, Tensor | None]:
    """Initial states [layers*directions, n, H], in the order of the sorted sequences."""
    count = layer.num_layers * (1 + layer.bidirectional)
    if hx is None:
        h = x.new_zeros(count, x.shape[0], layer.proj_size or layer.hidden_size)
        return h, x.new_zeros(count, x.shape[0], layer.hidden_size) if lstm else None
    h, c = hx if lstm else (hx, None)
    if flat:
        return h.unsqueeze(1), None if c is None else c.unsqueeze(1)
    if packed is not None and packed.sorted_indices is not None:
        order = packed.sorted_indices
        return h.index_select(1, order), None if c is None else c.index_select(1, order)
    return h, c


def _finish(
    layer: Any,
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    flat: bool,
    packed: PackedSequence | None,
    lengths: Tensor | None,
) -> Any:
    """Outputs and last states in the layout the layer was called with."""
    output: Any = x
    if packed is not None:
        assert lengths is not None
        again = pack_padded_sequence(x, lengths.cpu(), batch_first=True)
        output = PackedSequence(again.data, again.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        if packed.unsorted_indices is not None:
            h = h.index_select(1, packed.unsorted_indices)
            c = None if c is None else c.index_select(1, packed.unsorted_indices)
    elif flat:
        output, h, c = x.squeeze(0), h.squeeze(1), None if c is None else c.squeeze(1)
    elif not layer.batch_first:
        output = x.transpose(0, 1)
    return output, (h if c is None else (h, c))
