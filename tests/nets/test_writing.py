"""Writing: the batched beam against a plain one, against all there is, and its parts against their definitions."""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Sequence
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from isotrain.errors import BadOption, NotFinite
from isotrain.nets.seq2seq import Translator
from isotrain.nets.writing import State, Step, Written, beam, greedy, sample

BEGIN, END = 1, 2


class Net:
    """A random net whose logits hang on all that was written (through a state) and on what is looked at."""

    def __init__(self, seed: int, symbols: int, units: int = 4, places: int = 3, sharp: float = 2.0) -> None:
        self.places, self.symbols, self.looked = places, symbols, 0
        draw = torch.Generator().manual_seed(seed)
        self.embedding, self.into, self.on, self.out = (
            sharp * torch.randn(*size, generator=draw, dtype=torch.float64)
            for size in ((symbols, units), (units, units), (units, units), (units, symbols))
        )
        self.draw = draw

    def begin(self, rows: int) -> State:
        memory = torch.randn(rows, self.places, 4, generator=self.draw, dtype=torch.float64)
        return torch.randn(rows, 4, generator=self.draw, dtype=torch.float64), memory

    def __call__(self, last_b: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
        self.looked += len(last_b)
        state_bh, memory_bsh = state
        state_bh = (self.embedding[last_b] @ self.into + state_bh @ self.on).tanh()
        share_bs = torch.einsum("bh,bsh->bs", state_bh, memory_bsh).softmax(1)
        seen_bh = torch.einsum("bs,bsh->bh", share_bs, memory_bsh)
        return (state_bh + 0.3 * seen_bh) @ self.out, (state_bh, memory_bsh), share_bs


Hypothesis = tuple[list[int], float, float, bool, list[list[float]]]


def plain_beam(
    net: Step, state: State, longest: int, beams: int, penalty: float, n_best: int, never: Sequence[int] = ()
) -> list[Hypothesis]:
    """The same search for one row, hypothesis by hypothesis."""
    ended: list[Hypothesis] = []
    open_: list[tuple[list[int], float, State, list[list[float]]]] = [([], 0.0, state, [])]
    room = beams
    for _ in range(longest):
        candidates = []
        for symbols, total, before, looked in open_:
            last = torch.tensor([symbols[-1] if symbols else BEGIN])
            logits, after, share = net(last, before)
            shares = [] if share is None else [*looked, share[0].tolist()]
            for symbol, likely in enumerate(logits[0].log_softmax(0).tolist()):
                if symbol not in never:
                    candidates.append(([*symbols, symbol], total + likely, after, shares))
        candidates.sort(key=lambda one: -one[1])
        chosen, open_ = candidates[:room], []
        for symbols, total, after, shares in chosen:
            if symbols[-1] == END:
                room -= 1
                score = total / len(symbols) ** penalty
                ended.append((symbols[:-1], score, total / len(symbols), True, shares))
            else:
                open_.append((symbols, total, after, shares))
        ended.sort(key=lambda one: -one[1])
        if len(ended) >= n_best:
            open_ = [one for one in open_ if one[1] / longest**penalty > ended[n_best - 1][1]]
    cut = [(s, total / len(s) ** penalty, total / len(s), False, shares) for s, total, _, shares in open_]
    return [*ended, *sorted(cut, key=lambda one: -one[1])][:n_best]


def same(found: Sequence[Written], expected: Sequence[Hypothesis]) -> None:
    assert [one.symbols for one in found] == [symbols for symbols, *_ in expected]
    for one, (symbols, score, mean, ended, shares) in zip(found, expected, strict=True):
        assert one.score == pytest.approx(score, abs=1e-9) and one.mean == pytest.approx(mean, abs=1e-9)
        assert one.ended == ended
        assert one.attention is not None and one.attention.shape == (len(symbols) + ended, 3)
        expected_ts = torch.tensor(shares, dtype=torch.float64).reshape(-1, 3)
        torch.testing.assert_close(one.attention, expected_ts, atol=1e-9, rtol=0)


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 5),
    symbols=st.integers(3, 7),
    longest=st.integers(1, 8),
    beams=st.integers(1, 6),
    penalty=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    sharp=st.sampled_from([0.5, 1.0, 2.0]),
    data=st.data(),
)
def test_rows_written_together_are_the_plain_search_of_each(
    seed: int, rows: int, symbols: int, longest: int, beams: int, penalty: float, sharp: float, data: st.DataObject
) -> None:
    n_best = data.draw(st.integers(1, beams))
    never = data.draw(st.sampled_from([(), (0, BEGIN)]))
    each = data.draw(st.lists(st.integers(1, longest), min_size=rows, max_size=rows) | st.just([longest] * rows))
    net = Net(seed, symbols, sharp=sharp)
    state = net.begin(rows)
    together = beam(net, state, BEGIN, END, torch.tensor(each), beams, penalty, n_best, never)
    assert len(together) == rows
    for row, found in enumerate(together):
        alone = tuple(part[row : row + 1] for part in state)
        same(found, plain_beam(net, alone, each[row], beams, penalty, n_best, never))


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_all_there_is_finds_the_best_there_is(seed: int, penalty: float) -> None:
    """Every sequence of a tiny vocabulary that ends, scored from its definition."""
    net, longest = Net(seed, symbols=4), 4
    state = net.begin(2)
    for row, found in enumerate(beam(net, state, BEGIN, END, longest, beams=4**longest, penalty=penalty, n_best=5)):
        scored = []
        others = [symbol for symbol in range(4) if symbol != END]
        for length in range(longest):
            for symbols in itertools.product(others, repeat=length):
                last, now, total = BEGIN, tuple(part[row : row + 1] for part in state), 0.0
                for symbol in (*symbols, END):
                    logits, now, _ = net(torch.tensor([last]), now)
                    total += float(logits[0].log_softmax(0)[symbol])
                    last = symbol
                scored.append((total / (length + 1) ** penalty, list(symbols)))
        scored.sort(reverse=True)
        assert [one.symbols for one in found] == [symbols for _, symbols in scored[:5]]
        assert [one.score for one in found] == pytest.approx([score for score, _ in scored[:5]])
        assert all(one.ended for one in found)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 4), sharp=st.sampled_from([0.5, 2.0]))
def test_greedy_takes_the_likeliest_until_the_end(seed: int, rows: int, sharp: float) -> None:
    net = Net(seed, symbols=5, sharp=sharp)
    state = net.begin(rows)
    found = greedy(net, state, BEGIN, END, longest=7)
    assert [[one] for one in map(str, found)] == [
        [str(one) for one in row] for row in beam(net, state, BEGIN, END, longest=7, beams=1)
    ]
    for row, one in enumerate(found):
        last, now, symbols, total = BEGIN, tuple(part[row : row + 1] for part in state), [], 0.0
        while last != END and len(symbols) < 7:
            logits, now, _ = net(torch.tensor([last]), now)
            last = int(logits.argmax())
            total += float(logits[0].log_softmax(0)[last])
            symbols.append(last)
        assert one.symbols == [symbol for symbol in symbols if symbol != END]
        assert one.ended == (last == END) and one.mean == pytest.approx(total / len(symbols))


def test_a_longer_sentence_is_preferred_with_a_length_penalty() -> None:
    """To the end at once with .4, or over two symbols that are then certain with .6 * .6."""
    follow = torch.tensor([[0.0, 0.6, 0.4, 0.0], [0.0, 0.0, 0.4, 0.6], [0.0] * 4, [0.0, 0.0, 1.0, 0.0]]).double().log()

    def best(penalty: float) -> Written:
        return beam(lambda b, state: (follow[b], state, None), (torch.zeros(1),), 0, END, 5, penalty=penalty)[0][0]

    assert best(0).symbols == [] and best(0).score == pytest.approx(math.log(0.4))
    assert best(1).symbols == [1, 3] and best(1).score == pytest.approx(2 * math.log(0.6) / 3)
    assert best(0.5).score == pytest.approx(2 * math.log(0.6) / 3**0.5) and best(0.5).symbols == [1, 3]
    assert best(0).attention is None


def test_the_greatest_length_penalty_is_within_what_numbers_hold() -> None:
    net = Net(0, symbols=5)
    found = beam(net, net.begin(2), BEGIN, END, 4000, beams=2, penalty=10, n_best=2, never=[END])
    assert all(math.isfinite(one.score) and len(one.symbols) == 4000 for row in found for one in row)


def test_a_circle_does_not_win_over_a_sentence_that_ends() -> None:
    follow = torch.tensor([[0.0, 0.9, 0.1], [0.0, 0.99, 0.01], [0.0] * 3]).log()
    found = beam(lambda b, state: (follow[b], state, None), (torch.zeros(1),), 0, END, 6, beams=3, n_best=3)[0]
    assert [one.ended for one in found] == [True, True, False]
    assert greedy(lambda b, state: (follow[b], state, None), (torch.zeros(1),), 0, END, 6)[0].symbols == [1] * 6


def test_rows_that_are_done_are_looked_at_no_more() -> None:
    """Rows that end at once, and one that goes on: the net sees few hypotheses of the last steps."""
    sizes = []

    def step(last_b: Tensor, state: State) -> tuple[Tensor, State, None]:
        sizes.append(len(last_b))
        wait_b = state[0]
        logits_bv = torch.zeros(len(last_b), 6).double()
        logits_bv[:, END] = torch.where(wait_b > 0, -9.0, 99.0)
        return logits_bv, (wait_b - 1,), None

    found = beam(step, (torch.tensor([0.0] * 50 + [6.0]),), BEGIN, END, 100, beams=4)
    assert [len(row[0].symbols) for row in found] == [0] * 50 + [6]
    assert sizes == [51, 4, 4, 4, 4, 4, 4], "rows are not dropped, or the search does not stop"


def test_what_is_looked_at_is_not_sorted_at_every_step() -> None:
    """A tensor that comes back itself stays itself while the rows keep their places."""
    seen = []

    def step(last_b: Tensor, state: State) -> tuple[Tensor, State, None]:
        seen.append(state[1].data_ptr())
        return torch.arange(5.0).expand(len(last_b), 5), (state[0] + 1, state[1]), None

    beam(step, (torch.zeros(2, 3), torch.zeros(2, 3)), BEGIN, 0, 6, beams=3)
    assert len(set(seen[1:])) == 1


def test_forbidden_symbols_are_not_written_and_the_others_keep_their_probabilities() -> None:
    logits = torch.tensor([3.0, 2.0, 1.0, 0.0]).double()

    def step(last_b: Tensor, state: State) -> tuple[Tensor, State, None]:
        return logits.expand(len(last_b), -1), state, None

    start = (torch.zeros(2),)
    found = beam(step, start, BEGIN, END, 1, beams=4, n_best=4, never=[0, 1])
    assert [[one.symbols for one in row] for row in found] == [[[], [3]]] * 2
    assert found[0][0].score == pytest.approx(float(logits.log_softmax(0)[2]))
    drawn = torch.stack(list(islice(sample(step, start, BEGIN, never=[0, 1]), 200)))
    assert set(drawn.unique().tolist()) == {2, 3}


def test_samples_come_as_often_as_their_probabilities_say() -> None:
    follow = torch.tensor([[0.0, 2.0, 1.0, -1.0]]).expand(4, 4)

    def shares(**options: float | int) -> Tensor:
        draw = torch.Generator().manual_seed(1)
        start, step = (torch.zeros(1000),), lambda last, state: (follow[last], state, None)
        drawn = torch.cat(list(islice(sample(step, start, 0, generator=draw, **options), 20)))
        return drawn.bincount(minlength=4) / len(drawn)

    torch.testing.assert_close(shares(), follow[0].softmax(0), atol=0.01, rtol=0)
    torch.testing.assert_close(shares(temperature=0.5), (2 * follow[0]).softmax(0), atol=0.01, rtol=0)
    two = torch.tensor([-torch.inf, 2.0, 1.0, -torch.inf]).softmax(0)
    torch.testing.assert_close(shares(top_k=2), two, atol=0.01, rtol=0)
    assert shares(temperature=0)[1] == shares(top_k=1)[1] == shares(temperature=1e-30)[1] == 1
    assert shares(temperature=1e-50)[1] == shares(temperature=5e-324, never=[0])[1] == 1
    torch.testing.assert_close(shares(temperature=1e300), torch.full((4,), 0.25), atol=0.01, rtol=0)
    assert shares(temperature=1e300, never=[0])[0] == 0
    torch.testing.assert_close(shares(top_k=99), shares())


def test_the_same_generator_writes_the_same() -> None:
    net = Net(0, symbols=9)
    state = net.begin(3)
    one, two = (
        torch.stack(list(islice(sample(net, state, BEGIN, generator=torch.Generator().manual_seed(5)), 30)))
        for _ in range(2)
    )
    assert one.equal(two) and one.shape == (30, 3)


def test_temperature_zero_is_greedy() -> None:
    net = Net(3, symbols=6)
    state = net.begin(4)
    drawn = torch.stack(list(islice(sample(net, state, BEGIN, temperature=0), 12)), 1).tolist()
    for row, one in zip(drawn, greedy(net, state, BEGIN, END, longest=12), strict=True):
        assert row[: len(one.symbols)] == one.symbols and (not one.ended or row[len(one.symbols)] == END)


def test_a_long_text_streams() -> None:
    """As many looks as symbols were asked for, and no tensor more after a thousand than after a few."""
    net = Net(0, symbols=5)
    drawn = sample(net, net.begin(1), BEGIN)
    assert net.looked == 0
    next(drawn)
    assert net.looked == 1

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    for _ in range(10):
        next(drawn)
    before = tensors()
    for symbol in islice(drawn, 1000):
        assert symbol.shape == (1,)
    assert net.looked == 1011 and tensors() == before


def test_no_gradient_is_kept_and_none_is_forbidden_outside() -> None:
    weight = torch.ones(1, requires_grad=True)
    drawn = sample(lambda last, state: (torch.zeros(1, 3) * weight, (state[0] * weight,), None), (torch.ones(1),), 0)
    for _ in islice(drawn, 2):
        assert torch.is_grad_enabled()
    found = beam(
        lambda b, s: (torch.zeros(len(b), 3) * weight, s, weight.expand(len(b), 1)), (torch.ones(1),), 0, END, 3
    )
    assert found[0][0].attention is not None and not found[0][0].attention.requires_grad


def test_each_row_may_begin_with_its_own_symbol() -> None:
    follow = torch.eye(4).roll(1, 1)
    step = lambda last, state: (follow[last], state, None)  # noqa: E731
    found = greedy(step, (torch.zeros(2),), torch.tensor([0, 3]), END, 5)
    assert [one.symbols for one in found] == [[1], [0, 1]]
    assert next(sample(step, (torch.zeros(2),), torch.tensor([0, 3]), temperature=0)).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"beams": 0}, "beams=0"),
        ({"n_best": 0}, "n_best=0"),
        ({"longest": 0}, "longest=0"),
        ({"beams": 2, "n_best": 3}, "n_best=3 of beams=2"),
        ({"longest": torch.tensor([0])}, "longest=0"),
        ({"penalty": -1.0}, "length penalty of -1.0"),
        ({"penalty": 10.5}, "length penalty of 10.5 should be 0 to 10"),
        ({"penalty": math.nan}, "length penalty of nan"),
    ],
)
def test_a_beam_out_of_range_is_refused(options: dict[str, float], says: str) -> None:
    net = Net(0, symbols=4)
    with pytest.raises(BadOption, match=says):
        beam(net, net.begin(1), BEGIN, END, **{"longest": 5, **options})
    assert net.looked == 0


@pytest.mark.parametrize(("options", "says"), [({"temperature": -0.1}, "-0.1"), ({"top_k": 0}, "top_k=0")])
def test_a_sample_out_of_range_is_refused_before_the_first_symbol(options: dict[str, float], says: str) -> None:
    net = Net(0, symbols=4)
    with pytest.raises(BadOption, match=says):
        sample(net, net.begin(1), BEGIN, **options)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused(wrong: float) -> None:
    logits = torch.tensor([0.0, 0.0, 0.0, wrong])
    step = lambda last, state: (logits.expand(len(last), -1), state, None)  # noqa: E731
    with pytest.raises(NotFinite, match="symbol 1"):
        beam(step, (torch.zeros(1),), BEGIN, END, 5)
    with pytest.raises(NotFinite, match="symbol 1"):
        next(sample(step, (torch.zeros(1),), BEGIN))


def test_a_translator_writes_the_same_alone_and_in_company() -> None:
    """The real decoder: padding, attention, two layers of state."""
    net = Translator(9, 12, embedded=8, hidden=8).double().eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(4)  # a decided net
    source_bs = torch.tensor([[4, 5, 6, 7, 8], [5, 5, 4, 0, 0], [7, 0, 0, 0, 0]])

    def written(rows: Tensor) -> list[list[Written]]:
        with torch.no_grad():
            memory, state_bkh = net.decoder.begin(*net.encoder(rows))
        return beam(stepping(net), (state_bkh, *memory), BEGIN, END, 10, beams=4, n_best=2, never=[0, BEGIN])

    together = written(source_bs)
    for row, found in enumerate(together):
        length = int((source_bs[row] != 0).sum())
        for one, other in zip(found, written(source_bs[row : row + 1, :length])[0], strict=True):
            assert one.symbols == other.symbols and one.score == pytest.approx(other.score)
            assert one.attention is not None and other.attention is not None
            torch.testing.assert_close(one.attention[:, :length], other.attention)
            assert (one.attention[:, length:] == 0).all()


def stepping(net: Translator) -> Step:
    from isotrain.nets.seq2seq import Memory

    def step(last_b: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
        memory = Memory(*state[1:])
        logits_btv, state_bkh, share_bts = net.decoder(last_b[:, None], memory, state[0])
        return logits_btv[:, 0], (state_bkh, *state[1:]), share_bts[:, 0]

    return step


@pytest.mark.slow
def test_thirty_sentences_a_second() -> None:
    """Multi30k's sizes, a net that has learned nothing and so writes as much as it may: 20 symbols."""
    net = Translator(5000, 5000, embedded=256, hidden=256).eval()
    source_bs = torch.randint(4, 5000, (64, 16))
    begun = time.process_time()  # others may be at work on this machine
    with torch.no_grad():
        memory, state_bkh = net.decoder.begin(*net.encoder(source_bs))
    beam(stepping(net), (state_bkh, *memory), BEGIN, END, 20, beams=5, never=[0, BEGIN])
    assert 64 / (time.process_time() - begun) > 30
