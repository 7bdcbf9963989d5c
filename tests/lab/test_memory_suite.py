"""The memory suite: what a run is, what is kept of it, which runs follow which, and how they are summed up."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from isotrain.data.synthetic.memory import PROBLEMS
from isotrain.errors import BadOption, UnknownName
from isotrain.lab.suite.memory import RATES, Plan, _at_rates, remember
from isotrain.lab.suite.memory_report import summed
from isotrain.lab.suite.memory_runs import EVERY, Asked, MemoryEntry, MemoryKey, MemoryResults, Way, run

GRU = Way("gru", True, "isotrain")
RNN = Way("rnn", False, "adam")
PLAN = Plan(("adding",), (GRU, RNN), RATES, (8, 16), seeds=2, steps=400, hidden=8, batch=16)


def entry(key: MemoryKey, solved_at: int | None = None, loss: float = 0.2) -> MemoryEntry:
    checks = [loss] * ((solved_at or key.steps) // EVERY)
    return MemoryEntry(key, checks, loss, 0.5, None, None, checks=checks, solved_at=solved_at, seconds=4.0)


def small(optimizer: str = "adam", rate: float = 3e-3, **changes) -> MemoryKey:
    key = MemoryKey("adding", optimizer, rate, 0, 100, "gru", True, 8, 8, 16)
    return replace(key, **changes)


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("isotrain", 0.0), ("adam", 3e-3), ("adam-falling", 3e-3), ("sgd", 0.1)]
)
def test_a_run_is_the_same_run_again(optimizer, rate):
    key = small(optimizer, rate)
    one, two = run(key), run(key)
    assert replace(one, seconds=0.0) == replace(two, seconds=0.0)
    assert len(one.checks) == 2 and one.checks[-1] < 1.0 and one.seconds > 0 and one.diverged_at is None
    assert run(replace(key, seed=1)).curve != one.curve


def test_a_rate_that_falls_is_zero_at_the_end():
    steady, falling = run(small(steps=200)), run(small("adam-falling", steps=200))
    assert falling.checks != steady.checks
    assert abs(falling.checks[-1] - falling.checks[-2]) < abs(steady.checks[-1] - steady.checks[-2])


def test_part_of_a_run_whose_rate_falls_is_another_run(tmp_path):
    results = MemoryResults(tmp_path)
    for name in ("adam", "adam-falling"):
        results.add(run(small(name)))
        assert results.known(small(name)) is not None
    assert results.known(small(steps=50)) is not None
    assert results.known(small("adam-falling", steps=50)) is None


def test_a_run_ends_when_it_is_solved(monkeypatch):
    monkeypatch.setattr("isotrain.data.synthetic.memory.SMALL", 1.0)
    found = run(small())
    assert found.solved_at == EVERY and len(found.checks) == 1


def test_a_divergence_is_a_result():
    found = run(small("sgd", 1e30))
    assert found.diverged_at is not None and found.solved_at is None and json.dumps(found.checks)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda p: p.name)
def test_the_net_answers_at_the_last_places(problem):
    net = Asked(problem, "lstm", 4, time_scale=8.0)
    x, y = problem.batch(3, 8, 0, 0)
    output = net(x)
    assert output.shape == (*y.shape, problem.outputs)
    changed = x.clone()
    changed[:, -1] = 0
    assert torch.equal(net(changed)[:, :-1], output[:, :-1])  # the last answer alone saw the last place


def test_chrono_begins_the_gates():
    torch.manual_seed(0)
    with_it = Asked(PROBLEMS["copy"], "lstm", 64, time_scale=100.0).recurrent.core.bias_ih_l0[64:128]
    without = Asked(PROBLEMS["copy"], "lstm", 64, time_scale=None).recurrent.core.bias_ih_l0[64:128]
    assert with_it.min() >= 0 and with_it.max() > 3 and without.abs().max() < 0.2


def test_runs_are_kept_and_read_again(tmp_path):
    results = MemoryResults(tmp_path)
    results.add(entry(small(), 100))
    assert MemoryResults(tmp_path).entries == results.entries
    assert [p.name for p in tmp_path.iterdir()] == ["adding.json"]
    (tmp_path / "copy.json").write_text('{"kind": "contest", "version": 1, "runs": []}')
    with pytest.raises(BadOption, match=r"copy.json is not a file of memory results"):
        MemoryResults(tmp_path)


def test_a_run_of_another_length_tells_what_it_can(tmp_path):
    results = MemoryResults(tmp_path)
    results.add(entry(small(steps=400), loss=0.3))
    shorter = results.known(small(steps=200))
    assert shorter is not None and len(shorter.checks) == 4 and shorter.seconds == 2.0 and shorter.solved_at is None
    assert results.known(small(steps=401)) is None and results.known(small(hidden=9)) is None
    results.add(entry(small(steps=800, seed=1), 350))
    assert [results.known(small(steps=n, seed=1)).solved_at for n in (300, 350, 5000)] == [None, 350, 350]


def make_all(plan: Plan, results: MemoryResults, solve) -> list[MemoryKey]:
    """Make what is missing, in the plan's order, by a rule instead of by training."""
    made = []
    while True:
        key = next(plan.missing(results), None)
        if key is None:
            return made
        made.append(key)
        results.add(entry(key, solve(key)))


def test_seeds_follow_the_better_rate_and_lengths_follow_what_was_solved(tmp_path):
    results = MemoryResults(tmp_path)
    made = make_all(
        PLAN, results, lambda k: {"gru": 100, "rnn": 200 if k.length == 8 and k.rate == 3e-3 else None}[k.cell]
    )
    told = [(k.cell, k.length, k.rate, k.seed) for k in made]
    assert told == [
        *[("gru", 8, 0.0, 0), ("gru", 8, 0.0, 1), ("gru", 16, 0.0, 0), ("gru", 16, 0.0, 1)],
        *[("rnn", 8, 1e-3, 0), ("rnn", 8, 3e-3, 0), ("rnn", 8, 3e-3, 1)],
        *[("rnn", 16, 1e-3, 0), ("rnn", 16, 3e-3, 0), ("rnn", 16, 1e-3, 1)],
    ]
    assert PLAN.most == 2 * (2 + 3)


def test_a_length_that_was_not_solved_is_the_last(tmp_path):
    made = make_all(PLAN, MemoryResults(tmp_path), lambda key: None)
    assert {key.length for key in made} == {8}
    assert [key.rate for key in made if key.cell == "rnn"] == [*RATES["adam"], 1e-3]


def told(tmp_path, solve):
    results = MemoryResults(tmp_path)
    make_all(PLAN, results, solve)
    rows = {
        "adding": {w: {t: f for t in PLAN.lengths if (f := PLAN.found(results, "adding", w, t))} for w in PLAN.ways}
    }
    return summed(rows, {"adding": PROBLEMS["adding"]}, PLAN.steps, EVERY, {"batch": 16})


def test_the_verdict_and_the_tables(tmp_path):
    found = told(tmp_path, lambda k: 100 + 50 * k.seed if k.cell == "gru" else None)
    assert found.verdict[0] == "adding was solved by gru chrono up to T = 16, rnn at no length."
    assert found.verdict[-1].endswith("solved: isotrain 2 of 2, adam 0 of 2.")
    table = found.save(tmp_path / "m.md").read_text()
    assert "| | T = 8 | T = 16 |" in table
    assert "| gru chrono, isotrain | **125 steps, 4 s** | **125 steps, 4 s** |" in table
    assert "| rnn, adam | not solved, 0.2 | – |" in table


def test_the_report_in_every_form(tmp_path):
    found = told(tmp_path, lambda k: 100 if k.cell == "gru" or k.length == 8 else None)
    page = found.save(tmp_path / "m.html").read_text()
    assert "<svg" in page and "steps until solved" in page and "http" not in page.replace("http-equiv", "")
    assert "best guess without memory" in page
    assert found.save(tmp_path / "m.png").stat().st_size > 10_000
    content = json.loads(found.save(tmp_path / "m.json").read_text())
    assert content["kind"] == "memory" and content["rows"]["adding"][1]["lengths"]["16"]["steps"] is None


def test_some_seeds_solved_and_some_diverged(tmp_path):
    key = PLAN.key("adding", GRU, 8, 0.0, 0)
    runs = [entry(key, 100), replace(entry(key), diverged_at=7, held_out=None), entry(key)]
    found = summed({"adding": {GRU: {8: runs}}}, {"adding": PROBLEMS["adding"]}, 400, EVERY, {})
    outcome = found.rows["adding"][0]["lengths"]["8"]
    assert outcome["steps"] is None and outcome["solved"] == 1 and outcome["loss"] == 0.2
    assert "not solved, 0.2 (1 of 3 seeds)" in found.save(tmp_path / "m.md").read_text()
    worst = summed({"adding": {GRU: {8: runs[1:2]}}}, {"adding": PROBLEMS["adding"]}, 400, EVERY, {})
    assert "| gru chrono, isotrain | diverged |" in worst.save(tmp_path / "d.md").read_text()
    assert math.isclose(worst.problems["adding"]["baseline"], 1 / 6)


def test_a_rate_of_ones_own():
    assert _at_rates("adam@0.01") == ("adam", (0.01,)) and _at_rates("sgd") == ("sgd", RATES["sgd"])
    with pytest.raises(BadOption, match="isotrain has none"):
        _at_rates("isotrain@0.1")


def test_it_resumes(tmp_path):
    options = {
        "problems": ["adding"], "optimizers": ["adam@0.01"], "cells": ["gru"], "lengths": [8], "steps": 50, "hidden": 4,
        "batch": 8, "workers": 1, "progress": False,
    }  # fmt: skip
    found = remember(tmp_path, **options)
    before = (tmp_path / "adding.json").stat().st_mtime_ns
    assert {row["chrono"] for row in found.rows["adding"]} == {True, False}
    again = remember(tmp_path, **options)
    assert again.rows == found.rows and (tmp_path / "adding.json").stat().st_mtime_ns == before
    with_it = remember(tmp_path, **options, chrono=True)
    assert [(row["chrono"], row["lengths"]) for row in with_it.rows["adding"]] == [
        (True, found.rows["adding"][0]["lengths"])
    ]


@pytest.mark.parametrize("asked", [{"problems": ["coppy"]}, {"optimizers": ["adm"]}, {"cells": ["grU"]}])
def test_unknown_names(tmp_path, asked):
    with pytest.raises(UnknownName, match="Did you mean"):
        remember(tmp_path, **asked, progress=False)


@pytest.mark.parametrize(
    "asked", [{"seeds": 0}, {"batch": 1}, {"lengths": [4]}, {"steps": -1}, {"optimizers": ["adam@-1"]}]
)
def test_numbers_out_of_range(tmp_path, asked):
    with pytest.raises(BadOption):
        remember(tmp_path, **asked, progress=False)
