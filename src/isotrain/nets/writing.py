"""Writing symbol by symbol with any net that says what comes next: the likeliest each time, a beam, or by chance.

A net is seen as a step: the last symbol of each row and a state, to the logits of the next symbol, the state after,
and where it looked. The search knows nothing else of it.

Letters: b row, n hypothesis that is still being written (those of a row one after the other), k candidate to go on
with, v symbol, s place that is looked at, t place that is written, m hypothesis that is handed back.

Source: Sutskever et al. 2014, arXiv:1409.3215, section 3.2 (a hypothesis that ends leaves the beam); Wu et al. 2016,
arXiv:1609.08144, section 7 (why length is paid for).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from isotrain.errors import BadOption, NotFinite

State: TypeAlias = tuple[Tensor, ...]
"""What a step goes on from: tensors whose first dimension is the rows, one at least."""
Step: TypeAlias = Callable[[Tensor, State], tuple[Tensor, State, Tensor | None]]
"""Symbols [b] and the state to the logits [b, v] of the next, the state after, and shares [b, s] of the places or None.

A tensor of the state that comes back itself, the same object, counts as one that no symbol changes (what is looked at):
it is the same for all hypotheses of a row, and is not sorted anew at every step. So a step changes none in place.
"""


PENALTY = 10
"""The greatest power of the length that is taken: far beyond what orders sentences, far within what numbers hold."""


class Written(NamedTuple):
    """One sequence that was written.

    Attributes:
        symbols: without begin and end.
        score: what it was chosen by: the log-probability over a power of the length.
        mean: log-probability of a symbol on average, the end counted as one.
        attention: [t, s], where it looked for each symbol and, if it ended, for the end; None of a net that does not
            look.
        ended: False where it was cut off.
    """

    symbols: list[int]
    score: float
    mean: float
    attention: Tensor | None
    ended: bool


def greedy(
    step: Step, state: State, begin: int | Tensor, end: int, longest: int | Tensor, never: Sequence[int] = ()
) -> list[Written]:
    """The likeliest symbol each time, until the end comes: a beam of one.

    Args:
        step: the net.
        state: before anything was written.
        begin: the symbol before the first, or one for each row [b].
        end: the symbol that ends a sequence.
        longest: symbols at most, the end counted as one; or of each row [b].
        never: symbols that are not written.

    Returns:
        One sequence for each row, scored by its mean log-probability.

    Raises:
        BadOption: `longest` is not positive.
        NotFinite: logits that are not numbers.

    >>> follow = torch.tensor([[0.0, 3.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    >>> greedy(lambda last, state: (follow[last], state, None), (torch.zeros(1),), begin=0, end=2, longest=9)[0].symbols
    [1]
    """
    return [best for (best,) in beam(step, state, begin, end, longest, beams=1, never=never)]


@torch.no_grad()
def beam(
    step: Step,
    state: State,
    begin: int | Tensor,
    end: int,
    longest: int | Tensor,
    beams: int = 5,
    penalty: float = 1.0,
    n_best: int = 1,
    never: Sequence[int] = (),
) -> list[list[Written]]:
    """The best of several hypotheses that are written side by side.

    Each row has `beams` places. A hypothesis that ends leaves and its place is gone; the likeliest ways to go on with
    the others take the rest. One that can no longer become better than the worst of the `n_best` that ended is given
    up, and a row without hypotheses costs nothing more.

    Hypotheses are compared by their log-probability over length^penalty, the end counted in the length: 0 leaves the
    log-probability, which likes short ones; 1 takes the mean of a symbol. (The usual form, fairseq's and Hugging
    Face's; Wu et al. 2016, equation 14, has ((5 + length) / 6)^penalty.) Those cut off at the longest come after all
    that ended: going round in circles is cheap and would win.

    Args:
        step: the net.
        state: before anything was written.
        begin: the symbol before the first, or one for each row [b].
        end: the symbol that ends a sequence.
        longest: symbols at most, the end counted as one; or of each row [b], so that what is written of a row does not
            hang on what it is written with.
        beams: hypotheses of a row.
        penalty: the power of the length, at most 10.
        n_best: hypotheses of a row that are handed back.
        never: symbols that are not written. The probabilities of the others stay what they were.

    Returns:
        For each row its hypotheses, the best one first: `n_best`, or as many as there are.

    Raises:
        BadOption: a number out of its range, or more to hand back than beams.
        NotFinite: logits that are not numbers.

    >>> follow = torch.tensor([[0.0, 0.6, 0.4], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]).log()
    >>> step = lambda last, state: (follow[last], state, None)
    >>> [beam(step, (torch.zeros(1),), 0, 2, 9, beams=beams, penalty=0)[0][0].symbols for beams in (1, 2)]
    [[1, 0, 1, 0, 1, 0, 1, 0, 1], []]
    """
    shortest = int(longest.min()) if isinstance(longest, Tensor) else longest
    for what, number in (("longest", shortest), ("beams", beams), ("n_best", n_best)):
        if number < 1:
            raise BadOption(f"{what}={number} should be 1 or more.")
    if n_best > beams:
        raise BadOption(f"n_best={n_best} of beams={beams}: no more can be handed back than are written. More beams.")
    if not 0 <= penalty <= PENALTY:
        raise BadOption(
            f"a length penalty of {penalty} should be 0 to {PENALTY}: 0 is none, 1 takes the mean of a symbol."
        )
    penalty = float(penalty)  # powers of whole numbers have more digits than a tensor takes
    last_n = _first(begin, state)
    rows = len(last_n)
    row_n = torch.arange(rows, device=last_n.device)
    total_n = torch.zeros(rows, dtype=torch.float64, device=last_n.device)
    longest_b = torch.as_tensor(longest, device=last_n.device).expand(rows)
    farthest_b = longest_b.double() ** penalty
    room_b = torch.full_like(row_n, beams)
    kept_bm = total_n.new_full((rows, n_best), -math.inf)  # scores of the best that ended
    trail: list[_Open] = []
    left: list[_Left] = []
    for t in range(int(longest_b.max())):
        likely_nv, after, share_ns = _look(step, last_n, state, never, t)
        parent_n, symbol_n, total_n = _best(likely_nv, total_n, row_n, room_b, beams)
        rows_before_n, row_n = row_n, row_n[parent_n]
        over_n = symbol_n == end
        left.append(_Left(row_n[over_n], parent_n[over_n], total_n[over_n], t, True))
        room_b = room_b - row_n[over_n].bincount(minlength=rows)
        kept_bm = _with(kept_bm, left[-1], penalty)
        # No log-probability grows from here on, and none is divided by more than the greatest length.
        open_n = ~over_n & (total_n / farthest_b[row_n] > kept_bm[row_n, -1])
        cut_n = open_n & (longest_b[row_n] == t + 1)
        going_n = open_n & ~cut_n
        order_n = torch.cat([going_n.nonzero(), cut_n.nonzero()]).squeeze(1)  # those that go on keep their places
        trail.append(_Open(parent_n[order_n], symbol_n[order_n], share_ns))
        place_n = torch.arange(int(going_n.sum()), len(order_n), device=row_n.device)
        left.append(_Left(row_n[cut_n], place_n, total_n[cut_n], t + 1, False))
        parent_n, last_n, row_n, total_n = (x[going_n] for x in (parent_n, symbol_n, row_n, total_n))
        if not len(row_n):
            break
        settled = torch.equal(row_n, rows_before_n)
        state = tuple(
            new if settled and new is old else new.index_select(0, parent_n)
            for new, old in zip(after, state, strict=True)
        )
    return _n_best(left, trail, rows, n_best, penalty)


def sample(
    step: Step,
    state: State,
    begin: int | Tensor,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    never: Sequence[int] = (),
) -> Iterator[Tensor]:
    """Symbols drawn by chance, one of each row at a time, without an end; nothing written is kept.

    Args:
        step: the net.
        state: before anything was written.
        begin: the symbol before the first, or one for each row [b].
        generator: of the random numbers; None: torch's own.
        temperature: what the logits are divided by: below 1 the likely becomes likelier; 0 takes the likeliest.
        top_k: draw among as many of the likeliest; None: among all.
        never: symbols that are not drawn.

    Returns:
        Symbols [b], for as long as they are asked for.

    Raises:
        BadOption: a negative temperature, or fewer than one to draw among.

    While drawing, logits that are not numbers raise NotFinite.

    >>> follow = torch.tensor([[0.0, 3.0, 0.0], [0.0, 0.0, 3.0], [3.0, 0.0, 0.0]])
    >>> drawn = sample(lambda last, state: (follow[last], state, None), (torch.zeros(1),), begin=0, temperature=0)
    >>> [next(drawn).item() for _ in range(4)]
    [1, 2, 0, 1]
    """
    if not 0 <= temperature < math.inf:
        raise BadOption(
            f"a temperature of {temperature} should be 0 or more: 0 takes the likeliest, 1 is the net's own."
        )
    if top_k is not None and top_k < 1:
        raise BadOption(f"top_k={top_k} should be 1 or more, or None to draw among all symbols.")
    return _drawn(step, state, _first(begin, state), generator, temperature, top_k, never)


def _drawn(
    step: Step,
    state: State,
    last_b: Tensor,
    generator: torch.Generator | None,
    temperature: float,
    top_k: int | None,
    never: Sequence[int],
) -> Iterator[Tensor]:
    t = 0
    while True:
        with torch.no_grad():  # around a step, not around what is done with its symbol
            likely_bv, state, _ = _look(step, last_b, state, never, t)
            if temperature == 0:
                last_b = likely_bv.argmax(1)
            else:
                likely_bk, symbol_bk = likely_bv.topk(min(top_k or likely_bv.shape[1], likely_bv.shape[1]))
                # From the likeliest down, so that none is too low; a temperature that the logits' numbers cannot hold
                # is the next that they can.
                held = torch.finfo(likely_bk.dtype)
                share_bk = ((likely_bk - likely_bk[:, :1]) / min(max(temperature, held.tiny), held.max)).softmax(1)
                last_b = symbol_bk.gather(1, share_bk.multinomial(1, generator=generator)).squeeze(1)
        yield last_b
        t += 1


def _first(begin: int | Tensor, state: State) -> Tensor:
    if isinstance(begin, Tensor):
        return begin
    return torch.full((len(state[0]),), begin, dtype=torch.long, device=state[0].device)


def _look(
    step: Step, last_n: Tensor, state: State, never: Sequence[int], t: int
) -> tuple[Tensor, State, Tensor | None]:
    """Log-probabilities [n, v] of the next symbol, -inf of those that are not to be written."""
    logits_nv, state, share_ns = step(last_n, state)
    likely_nv = logits_nv.log_softmax(1)
    if likely_nv[:, 0].isnan().any():  # one logit that is infinite or none makes the whole row so
        raise NotFinite(f"the logits of symbol {t + 1} are not numbers. Does the net's loss hold numbers?")
    if never:
        likely_nv.index_fill_(1, torch.tensor(list(never), device=likely_nv.device), -math.inf)
    return likely_nv, state, share_ns


def _best(
    likely_nv: Tensor, total_n: Tensor, row_n: Tensor, room_b: Tensor, beams: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest ways to go on, as many as a row has room for, row by row: whom, with what symbol, total."""
    # The best of each hypothesis first: of thousands of symbols only a handful is then compared between them.
    likely_nk, symbol_nk = likely_nv.topk(min(beams, likely_nv.shape[1]))
    k = symbol_nk.shape[1]
    first_b, nth_n = _places(row_n, len(room_b))
    total_bnk = total_n.new_full((len(room_b), beams, k), -math.inf)
    total_bnk[row_n, nth_n] = total_n[:, None] + likely_nk
    total_bk, place_bk = total_bnk.flatten(1).topk(beams)
    there_bk = (torch.arange(beams, device=row_n.device) < room_b[:, None]) & (total_bk > -math.inf)
    parent_n = (first_b[:, None] + place_bk // k)[there_bk]
    return parent_n, symbol_nk[parent_n, (place_bk % k)[there_bk]], total_bk[there_bk]


def _places(row_n: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Of rows in order: where each begins [rows], and the how many-eth of its row each one is [n], from 0."""
    first_b = torch.searchsorted(row_n, torch.arange(rows, device=row_n.device))
    return first_b, torch.arange(len(row_n), device=row_n.device) - first_b[row_n]


class _Open(NamedTuple):
    """The open hypotheses after a symbol: which they go on from, with what, and where each of those had looked."""

    parent_n: Tensor
    symbol_n: Tensor
    share_ns: Tensor | None


class _Left(NamedTuple):
    """Hypotheses that are written no further: their places among those open after `symbols` symbols."""

    row_n: Tensor
    place_n: Tensor
    total_n: Tensor
    symbols: int
    ended: bool


def _with(kept_bm: Tensor, left: _Left, penalty: float) -> Tensor:
    """The best scores of each row, now that some more have ended."""
    _, nth_n = _places(left.row_n, len(kept_bm))
    width = int(nth_n.max()) + 1 if len(nth_n) else 0
    new_bm = kept_bm.new_full((len(kept_bm), width), -math.inf)
    new_bm[left.row_n, nth_n] = left.total_n / (left.symbols + 1) ** penalty
    return torch.cat([kept_bm, new_bm], 1).topk(kept_bm.shape[1]).values


def _n_best(left: list[_Left], trail: list[_Open], rows: int, n_best: int, penalty: float) -> list[list[Written]]:
    """The best of each row, read back from their last symbols to their first."""
    row_m, place_m, total_m = (torch.cat([getattr(one, part) for one in left]) for part in _Left._fields[:3])
    count_m = torch.cat([torch.full_like(one.row_n, one.symbols) for one in left])
    ended_m = torch.cat([torch.full_like(one.row_n, one.ended) for one in left])
    score_m = total_m / (count_m + ended_m).double() ** penalty
    order_m = score_m.argsort(descending=True, stable=True)
    order_m = order_m[ended_m[order_m].argsort(descending=True, stable=True)]
    order_m = order_m[row_m[order_m].argsort(stable=True)]
    order_m = order_m[_places(row_m[order_m], rows)[1] < n_best]
    row_m, place_m, count_m, ended_m = (x[order_m] for x in (row_m, place_m, count_m, ended_m))

    written_mt = row_m.new_zeros(len(row_m), len(trail))
    first = trail[0].share_ns
    share_mts = None if first is None else first.new_zeros(*written_mt.shape, first.shape[1])
    length_m = count_m + ended_m
    for t in reversed(range(len(trail))):
        m = (count_m > t).nonzero().squeeze(1)
        written_mt[m, t] = trail[t].symbol_n[place_m[m]]
        place_m[m] = trail[t].parent_n[place_m[m]]
        looked_ns = trail[t].share_ns
        if share_mts is not None and looked_ns is not None:
            m = (length_m > t).nonzero().squeeze(1)
            share_mts[m, t] = looked_ns[place_m[m]]

    best: list[list[Written]] = [[] for _ in range(rows)]
    means = (total_m[order_m] / length_m).tolist()
    counts, scores, symbols = count_m.tolist(), score_m[order_m].tolist(), written_mt.tolist()
    for one, (row, count, length) in enumerate(zip(row_m.tolist(), counts, length_m.tolist(), strict=True)):
        attention = None if share_mts is None else share_mts[one, :length]
        best[row].append(Written(symbols[one][:count], scores[one], means[one], attention, length > count))
    return best
