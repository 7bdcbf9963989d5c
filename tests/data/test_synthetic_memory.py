"""The memory problems: what is shown, what is asked for, and what can be known without memory."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotrain.data.synthetic.draws import Part
from isotrain.data.synthetic.memory import ALPHABET, KINDS, OPEN, PROBLEMS, RECALLED, Score
from isotrain.errors import BadData, BadOption

EVERY = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda p: p.name)
lengths = st.sampled_from([8, 12, 20, 52, 100])


@EVERY
@given(length=lengths, seed=st.integers(0, 5), step=st.integers(0, 5))
def test_a_batch_hangs_on_its_numbers_alone(problem, length, seed, step):
    x, y = problem.batch(3, length, seed, step)
    again_x, again_y = problem.batch(3, length, seed, step)
    assert torch.equal(x, again_x) and torch.equal(y, again_y)
    assert x.shape[0] == 3 and x.shape[1] >= length and x.shape[2] == problem.inputs and x.dtype == torch.float32
    assert y.shape == (3, problem.answers)
    assert y.dtype == (torch.float32 if problem.likelihood == "gaussian" else torch.int64)
    for other in (problem.batch(3, length, seed + 1, step), problem.batch(3, length, seed, step, Part.HELD_OUT)):
        assert not torch.equal(x, other[0])


@EVERY
def test_every_step_brings_new_sequences(problem):
    seen = [problem.batch(4, 20, 0, step)[0] for step in range(20)]
    assert len({tuple(x.flatten().tolist()) for x in seen}) == 20


@given(length=lengths, seed=st.integers(0, 9))
def test_copy_asks_for_what_it_showed(length, seed):
    x, y = PROBLEMS["copy"].batch(4, length, seed, 0)
    symbols = x.argmax(-1)
    assert (x.sum(-1) == 1).all()
    assert x.shape[1] == length + 2 * RECALLED
    assert torch.equal(symbols[:, :RECALLED], y) and (y < ALPHABET).all()
    assert (symbols[:, RECALLED : RECALLED + length - 1] == ALPHABET).all()
    assert (symbols[:, RECALLED + length - 1] == ALPHABET + 1).all()
    assert (symbols[:, -RECALLED:] == ALPHABET).all()  # nothing of the answer is shown where it is asked for


@given(length=lengths, seed=st.integers(0, 9))
def test_adding_asks_for_the_sum_of_the_marked(length, seed):
    x, y = PROBLEMS["adding"].batch(4, length, seed, 0)
    value, mark = x.unbind(-1)
    half = length // 2
    assert (mark[:, :half].sum(1) == 1).all() and (mark[:, half:].sum(1) == 1).all()
    assert torch.allclose((value * mark).sum(1, keepdim=True), y) and (value >= 0).all() and (value < 1).all()


@given(length=lengths, seed=st.integers(0, 9))
def test_xor_asks_whether_two_bits_far_apart_differ(length, seed):
    x, y = PROBLEMS["xor"].batch(4, length, seed, 0)
    value, mark = x.unbind(-1)
    for row in range(4):
        first, second = mark[row].nonzero().flatten().tolist()
        assert second - first > length // 2 - 1
        assert int(value[row, first] != value[row, second]) == y[row, 0]
    assert (value.abs() == 1).all()


def closed(symbols: list[int]) -> tuple[list[int], list[int]]:
    """Read brackets with a stack: which stay open, and where they stood."""
    stack: list[tuple[int, int]] = []
    for place, symbol in enumerate(symbols):
        if symbol < KINDS:
            stack.append((symbol, place))
        else:
            assert stack.pop()[0] == symbol - KINDS
    return [kind for kind, _ in stack], [place for _, place in stack]


@given(length=lengths, seed=st.integers(0, 9))
def test_brackets_ask_for_what_stayed_open(length, seed):
    x, y = PROBLEMS["brackets"].batch(4, length, seed, 0)
    symbols = x.argmax(-1)
    assert x.shape[1] == length + 2 * OPEN and (symbols[:, -OPEN:] == 2 * KINDS).all()
    for row in range(4):
        kinds, places = closed(symbols[row, :-OPEN].tolist())
        assert kinds[::-1] == y[row].tolist()
        assert length + OPEN - max(places) > length // 2 - 1


def test_brackets_stay_open_at_all_places_of_the_first_half():
    x, _ = PROBLEMS["brackets"].batch(300, 20, 0, 0)
    found = {place for row in x.argmax(-1)[:, :-OPEN].tolist() for place in closed(row)[1]}
    assert {0, 1, 2, 3, 4, 8} <= found and max(found) <= 8 + OPEN - 1


@EVERY
def test_the_baseline_is_the_best_guess_without_memory(problem):
    """The same answer to everything, which is also the average one."""
    _, y = problem.batch(20_000, 20, 0, 0)
    if problem.likelihood == "gaussian":
        guess = y.mean().expand(*y.shape, 1)
    else:
        guess = torch.zeros(*y.shape, problem.outputs)
        share = torch.bincount(y.flatten(), minlength=problem.outputs) / y.numel()
        assert (share - 1 / problem.outputs).abs().max() < 0.02
    assert float(problem.loss(guess, y)) == pytest.approx(problem.baseline, rel=0.02)
    assert not problem.solved(problem.score(guess, y))


@EVERY
def test_the_right_answers_solve_it(problem):
    _, y = problem.batch(200, 20, 0, 0)
    if problem.likelihood == "gaussian":
        best = problem.score(y.unsqueeze(-1), y)
    else:
        best = problem.score(20 * torch.nn.functional.one_hot(y, problem.outputs).float(), y)
    assert best.right == 1 and best.loss < 1e-6 and problem.solved(best)


def test_one_fault_spoils_a_sequence():
    problem = PROBLEMS["copy"]
    _, y = problem.batch(100, 20, 0, 0)
    said = y.clone()
    said[:2, 3] = (said[:2, 3] + 1) % ALPHABET
    score = problem.score(20 * torch.nn.functional.one_hot(said, ALPHABET).float(), y)
    assert score.right == pytest.approx(0.98) and not problem.solved(score)
    assert problem.solved(Score(1.0, 0.99))
    assert math.isclose(PROBLEMS["adding"].baseline, 1 / 6)


@pytest.mark.parametrize(("name", "length"), [("copy", 7), ("adding", 0), ("brackets", 30), ("xor", -4)])
def test_a_length_it_does_not_have(name, length):
    with pytest.raises(BadOption, match=rf"{name} of length {length}: a length is 8 or more"):
        PROBLEMS[name].batch(1, length, 0, 0)


def test_numbers_out_of_range():
    with pytest.raises(BadOption, match="seed -1"):
        PROBLEMS["copy"].batch(1, 20, -1, 0)
    with pytest.raises(BadOption, match="0 sequences"):
        PROBLEMS["copy"].batch(0, 20, 0, 0)


def test_outputs_of_another_shape():
    _, y = PROBLEMS["copy"].batch(2, 20, 0, 0)
    with pytest.raises(BadData, match=r"copy asks for outputs of shape \(2, 10, 8\), the net gave \(2, 30, 8\)"):
        PROBLEMS["copy"].loss(torch.zeros(2, 30, 8), y)
