"""Nets that write, as ONNX files: one step of a text, or an encoder and one step of a decoder.

A file is a step, not a search: the reader feeds back what was written and the state (`isotrain.train.onnx_greedy`).
The files' metadata `card` has, beside the task's own card, the numbers of the marks under "writing".

Letters: b sentence or picture, s place of what is looked at, t place of what is written, f feature, a feature of
attention, k h state (nets/recurrent.py), v symbol.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from isotrain.data.text import BEGIN, END, PAD, UNKNOWN
from isotrain.errors import BadOption
from isotrain.nets.seq2seq import Decoder, Memory
from isotrain.tasks.base import Task
from isotrain.train.exporting import Exported, Part, export_parts

MODEL, ENCODER, DECODER = "model.onnx", "encoder.onnx", "decoder.onnx"
WRITERS = ("characters", "translate", "caption")
"""The tasks that are exported as steps."""
WRITING = {"begin": BEGIN, "end": END, "never": [PAD, BEGIN, UNKNOWN]}
"""Of a decoder: the symbol it is begun with, the one it ends with, and those that are not written."""


def export_writer(task: Task, net: nn.Module, out: Path, check: bool = True) -> list[Exported]:
    """Write the net of a task that writes.

    Of `characters` one file: symbols [batch, time] and the state before, to the logits at each time and the state after
    (the state before anything was read is zeros). Of `translate` and `caption` two: encoder.onnx, from sources
    [batch, places] (each with its end, padded with 0) or pictures to values, keys, blocked and state; decoder.onnx,
    from the last symbols [batch] and these to logits [batch, symbols], the state after and the attention.

    Args:
        task: one of `WRITERS`.
        net: of the task.
        out: the file of `characters`; of the others a folder.
        check: compare onnxruntime with torch.

    Raises:
        MissingExtra: the packages of the extra "export" are not there.
        BadOption: `out` is of the other kind or cannot be written, or a file gives something else than torch does.
    """
    card = {"task": task.name, **task.card}
    if task.name == "characters":
        return export_parts([_text(task, net, out)], card, check)
    if out.suffix == ".onnx":
        raise BadOption(f"{out}: {task.name} is exported as {ENCODER} and {DECODER}, --out names their folder.")
    return export_parts(_pair(task, net, out), {**card, "writing": WRITING}, check)


class _Reading(nn.Module):
    """A net that reads on, its outputs named."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, symbols_bt: Tensor, state_bkh: Tensor) -> dict[str, Tensor]:
        logits_btv, state_bkh = self.net(symbols_bt, state_bkh)
        return {"logits": logits_btv, "state": state_bkh}


class _Sources(nn.Module):
    """Sentences to all that a decoder needs of them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, source_bs: Tensor) -> dict[str, Tensor]:
        return _begun(self.net, *self.net.get_submodule("encoder")(source_bs))


class _Pictures(nn.Module):
    """Pictures to all that a decoder needs of them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures_bchw: Tensor) -> dict[str, Tensor]:
        values_bsf = self.net.get_submodule("encoder")(pictures_bchw)
        blocked_bs = torch.zeros(values_bsf.shape[:2], dtype=torch.bool)
        return _begun(self.net, values_bsf, blocked_bs)


class _Step(nn.Module):
    """A decoder, one symbol of each row."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, symbols_b: Tensor, values_bsf: Tensor, keys_bsa: Tensor, blocked_bs: Tensor, state_bkh: Tensor
    ) -> dict[str, Tensor]:
        memory = Memory(values_bsf, keys_bsa, blocked_bs)
        logits_btv, state_bkh, share_bts = self.decoder(symbols_b.unsqueeze(1), memory, state_bkh)
        return {"logits": logits_btv[:, 0], "state": state_bkh, "attention": share_bts[:, 0]}


def _begun(net: nn.Module, values_bsf: Tensor, blocked_bs: Tensor) -> dict[str, Tensor]:
    memory, state_bkh = _decoder(net).begin(values_bsf, blocked_bs)
    return {"values": memory.values, "keys": memory.keys, "blocked": memory.blocked, "state": state_bkh}


def _decoder(net: nn.Module) -> Decoder:
    found = net.get_submodule("decoder")
    assert isinstance(found, Decoder), "the net writes"
    return found


def _text(task: Task, net: nn.Module, path: Path) -> Part:
    symbols_bt, state_bkh = task.example()
    generator = torch.Generator().manual_seed(0)
    number = net.get_submodule("head").out_features
    assert isinstance(number, int)

    def drawn(rows: int, times: int) -> tuple[Tensor, Tensor]:
        symbols_bt = torch.randint(number, (rows, times), generator=generator)
        return symbols_bt, torch.randn(rows, *state_bkh.shape[1:], generator=generator).tanh()

    rows, both = {0: "batch"}, {0: "batch", 1: "time"}
    free = {"symbols": both, "state_in": rows, "logits": both, "state": rows}
    return Part(_Reading(net), (symbols_bt, state_bkh), path, free, [drawn(1, 1), drawn(3, 9)])


def _pair(task: Task, net: nn.Module, folder: Path) -> list[Part]:
    """The encoder, and the decoder on what the encoder gives."""
    rows, both = {0: "batch"}, {0: "batch", 1: "places"}
    free = dict.fromkeys(("values", "keys", "blocked", "attention"), both)
    free |= dict.fromkeys(("symbols", "logits", "state", "state_in"), rows)
    generator = torch.Generator().manual_seed(0)
    seen = task.example()[0]
    encoder: nn.Module
    names = ("values", "keys", "blocked", "state")
    if seen.is_floating_point():
        encoder, own = _Pictures(net), dict.fromkeys(("pictures", *names), rows)
        tried = [torch.rand(number, *seen.shape[1:], generator=generator) for number in (1, 3)]
    else:
        encoder, own = _Sources(net), {"source": both, **{name: free[name] for name in names}}
        known = net.get_submodule("encoder.embedding").num_embeddings
        assert isinstance(known, int)
        tried = [_padded(known, lengths, generator) for lengths in ([1], [9, 1, 6, 2])]
    decoder = _Step(_decoder(net))
    symbols = decoder.decoder.head.out_features
    steps = []
    with torch.no_grad():
        for inputs in (seen, *tried):
            looked = encoder.eval()(inputs)
            last_b = torch.randint(BEGIN, symbols, (len(inputs),), generator=generator)
            steps.append((last_b, *looked.values()))
    first = Part(encoder, (seen,), folder / ENCODER, own, [(inputs,) for inputs in tried])
    return [first, Part(decoder, steps[0], folder / DECODER, free, steps[1:])]


def _padded(symbols: int, lengths: list[int], generator: torch.Generator) -> Tensor:
    """Random sentences of these lengths, their ends included: [b, s]."""
    source_bs = torch.randint(UNKNOWN, symbols, (len(lengths), max(lengths)), generator=generator)
    for row_s, length in zip(source_bs, lengths, strict=True):
        row_s[length - 1] = END
        row_s[length:] = PAD
    return source_bs
