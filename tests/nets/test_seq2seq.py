"""Encoder, attention and decoder, beside slow plain versions of themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from isotrain.errors import UnknownName
from isotrain.nets.caption import Captioner, open_places
from isotrain.nets.recurrent import CELLS
from isotrain.nets.seq2seq import ATTENTIONS, Attention, Encoder, Translator


def ragged(*lengths: int, symbols: int = 9) -> Tensor:
    """Sentences of these lengths, padded at the end."""
    rows = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = torch.randint(1, symbols, (length,))
    return rows


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_an_encoder_is_torch_s_own_of_both_directions_on_packed_sentences(cell: str) -> None:
    torch.manual_seed(0)
    net = Encoder(9, 4, 5, cell).double()
    rows = ragged(6, 2, 4, 1)
    both = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](4, 5, bidirectional=True, batch_first=True).double()
    state = {name: value for name, value in net.onward.core.state_dict().items()}
    state |= {f"{name}_reverse": value for name, value in net.backward_.core.state_dict().items()}
    both.load_state_dict(state)
    lengths = (rows != 0).sum(1)
    packed = pack_padded_sequence(net.embedding(rows), lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(both(packed)[0], batch_first=True)
    found, blocked = net(rows)
    assert torch.equal(blocked, rows == 0)
    assert float((found - expected).detach()[~blocked].abs().max()) < 1e-12


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention_by_hand(kind: str) -> None:
    torch.manual_seed(0)
    net = Attention(3, 4, 5, kind).double()
    question, values = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 6, 4, dtype=torch.float64)
    blocked = torch.zeros(2, 6, dtype=torch.bool)
    blocked[1, 4:] = True
    answer, share = net(question.unsqueeze(1), net.memory(values, blocked))
    for row in range(2):
        scores = []
        for place in range(6 - 2 * row):
            query, key = net.query(question[row]), net.key(values[row, place])
            scores.append(net.score((query + key).tanh())[0] if kind == "additive" else query @ key / 5**0.5)
        weights = torch.stack(scores).softmax(0)
        assert torch.allclose(share[row, 0, : len(weights)], weights)
        assert torch.allclose(answer[row, 0], weights @ values[row, : len(weights)])
        assert not share[row, 0, len(weights) :].any()


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_sentence_written_word_by_word_is_the_sentence_at_once(kind: str, cell: str) -> None:
    torch.manual_seed(0)
    net = Translator(9, 8, 6, 4, cell, kind).double().eval()
    source, target = ragged(5, 3), torch.randint(1, 8, (2, 7))
    expected = net(source, target)
    values, blocked = net.encoder(source)
    memory, state = net.decoder.begin(values, blocked)
    for place in range(7):
        logits, state, _ = net.decoder(target[:, place : place + 1], memory, state)
        assert float((logits[:, 0] - expected[:, place]).detach().abs().max()) < 1e-12


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    net = Translator(9, 8, 6, 4).double().eval()
    source, target = ragged(3), torch.randint(1, 8, (1, 4))
    longer = torch.cat([source, torch.zeros(1, 5, dtype=torch.long)], 1)
    assert float((net(source, target) - net(longer, target)).detach().abs().max()) < 1e-12


def test_what_comes_later_is_not_looked_at() -> None:
    torch.manual_seed(0)
    net = Translator(9, 8, 6, 4).eval()
    source, target = ragged(3), torch.randint(1, 8, (1, 6))
    other = target.clone()
    other[:, 4:] = 1
    before, after = net(source, target), net(source, other)
    assert torch.equal(before[:, :4], after[:, :4])


def test_a_captioner_knows_where_things_are() -> None:
    """The picture mirrored gives other places, not the same in another order: where they are is a part of them."""
    torch.manual_seed(0)
    net = Captioner("resnet8", 7, [0.5] * 3, [0.25] * 3, 8, 8).eval()
    flat = torch.full((1, 3, 32, 32), 0.5)
    places = net.encoder(flat)
    assert places.shape == (1, 64, 8)
    assert float((places[0, 36] - places[0, 27]).detach().abs().max()) > 1e-3  # far from the edges
    assert not open_places(places).any()


def test_a_frozen_trunk_neither_learns_nor_counts() -> None:
    net = Captioner("resnet8", 7, [0.5] * 3, [0.25] * 3, 8, 8, frozen=True).train()
    before = {name: value.clone() for name, value in net.encoder.trunk.state_dict().items()}
    net(torch.rand(2, 3, 32, 32), torch.ones(2, 3, dtype=torch.long)).sum().backward()
    assert all(parameter.grad is None for parameter in net.encoder.trunk.parameters())
    assert net.encoder.project.weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in net.encoder.trunk.state_dict().items())


def test_an_unknown_attention() -> None:
    with pytest.raises(UnknownName, match="attention"):
        Attention(2, 2, 2, "multiplicative")
