"""The contest: what is run, what is kept, how it is summed up."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from isotrain.errors import BadOption, UnknownName
from isotrain.lab.suite.contest import Entry, Key, Results, _crossed, best, lengths, planned, run
from isotrain.lab.suite.problems import PROBLEMS
from isotrain.lab.suite.race import race
from isotrain.lab.suite.rivals import RIVALS
from isotrain.lab.suite.standing import standing


def entry(optimizer: str, rate: float, seed: int, final: float, steps: int = 300, diverged: int | None = None) -> Entry:
    curve = [final * 2] * 90 + [final] * 10
    return Entry(
        Key("digits", optimizer, rate, seed, steps), curve, final * 1.5, 0.9, None, diverged, final * 1.4, 0.8 + final
    )


def test_ten_problems_and_their_rivals():
    assert len(PROBLEMS) == 10
    assert {"isotrain", "adam", "adamw-cosine", "muon", "soap", "shampoo", "kron", "prodigy", "k-fac"} <= set(RIVALS)
    assert RIVALS["adam"].rates == [0.000215, 0.000464, 0.001, 0.00215, 0.00464]
    assert RIVALS["isotrain"].rates == [0.0]


def test_a_run_is_the_same_run_again():
    key = Key("digits", "adam", 0.001, 0, 60)
    one, two = run(key), run(key)
    assert one == two and one.diverged_at is None and one.held_out is not None
    assert one.curve[-1] < one.curve[0]
    assert run(Key("digits", "adam", 0.001, 1, 60)).curve != one.curve


def test_a_divergence_is_a_result():
    found = run(Key("digits", "sgd", 1e38, 0, 60))
    assert found.diverged_at is not None and found.held_out is None and found.at(60) == math.inf
    assert found.diverged and run(Key("digits", "sgd", 1e20, 0, 60)).diverged


def test_results_are_kept_and_read_again(tmp_path):
    results = Results(tmp_path)
    results.add(entry("adam", 0.001, 0, 0.5))
    results.add(entry("isotrain", 0.0, 0, 0.1))
    again = Results(tmp_path)
    assert again.entries == results.entries
    assert [p.name for p in tmp_path.iterdir()] == ["digits.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"kind": "contest", "version": 99, "runs": []}', '{"kind": "audit"}'])
def test_a_file_from_elsewhere_is_refused(tmp_path, content):
    (tmp_path / "digits.json").write_text(content)
    with pytest.raises(BadOption, match=r"digits.json is not a file of contest results"):
        Results(tmp_path)


def test_other_seeds_follow_at_the_best_rate(tmp_path):
    results = Results(tmp_path)
    (steps,) = lengths("digits", "adam")
    first = list(planned(results, ["digits"], ["adam"], 3, 1.0))
    assert [k.rate for k in first] == RIVALS["adam"].rates and {k.steps for k in first} == {steps}
    for key in first:
        results.add(entry("adam", key.rate, 0, 1.0 + abs(key.rate - 0.00215), steps))
    then = list(planned(results, ["digits"], ["adam"], 3, 1.0))
    assert [(k.rate, k.seed) for k in then] == [(0.00215, 1), (0.00215, 2)]
    assert best(results.of("digits", "adam"), 300) == 0.00215


def test_a_rate_at_the_end_of_the_grid_is_not_the_best_until_the_next_was_tried(tmp_path):
    results = Results(tmp_path)
    (steps,) = lengths("digits", "adam")
    for rate in RIVALS["adam"].rates:
        results.add(entry("adam", rate, 0, 1 / rate, steps))
    for further in (0.01, 0.0216):
        (key,) = planned(results, ["digits"], ["adam"], 1, 1.0)
        assert key.rate == further
        results.add(entry("adam", key.rate, 0, 1 / key.rate, steps))
    assert not list(planned(results, ["digits"], ["adam"], 1, 1.0))


def test_a_falling_rate_runs_once_for_equal_steps_and_once_for_equal_seconds(tmp_path):
    short, long = lengths("digits", "adamw-cosine")
    assert (short, long) == (300, 1500) and lengths("digits", "soap") == lengths("digits", "isotrain") == [300]
    results = Results(tmp_path)
    results.add(entry("adamw-cosine", 0.001, 0, 0.5, short))
    results.add(entry("adamw-cosine", 0.001, 0, 0.2, long))
    found = standing(results, ["digits"], ["adamw-cosine"], 1.0).scores["digits"]["adamw-cosine"]
    assert (found.loss, found.timed) == (0.5, 0.4)  # without a measured cost, equal seconds are equal steps


def test_the_standing_counts_wins_and_losses(tmp_path):
    results = Results(tmp_path)
    for seed in range(3):
        results.add(entry("isotrain", 0.0, seed, 0.1 + 0.01 * seed))
    for rate in RIVALS["momentum"].rates:
        results.add(entry("momentum", rate, 0, 0.2, 1500, diverged=7 if rate > 0.02 else None))
    found = standing(results, ["digits"], ["isotrain", "momentum"], 1.0)
    ours, theirs = found.scores["digits"]["isotrain"], found.scores["digits"]["momentum"]
    assert ours.loss == pytest.approx(0.11) and (ours.low, ours.high) == pytest.approx((0.10, 0.12))
    assert theirs.diverged == 2 and theirs.runs == 5
    assert "ahead of every rival on 1 of 1 problems" in found.verdict[0]
    results.add(entry("adam", 0.001, 0, 0.01, 1500))
    worse = standing(results, ["digits"], ["isotrain", "momentum", "adam"], 1.0)
    assert "0 of 1 problems; behind on digits (adam)" in worse.verdict[0]
    results.add(entry("isotrain-start", 0.0, 0, 0.001))
    both = standing(results, ["digits"], ["isotrain", "isotrain-start", "adam"], 1.0).verdict
    assert "0 of 1 problems; behind on digits (adam)" in both[0]  # ours is no rival of ours
    assert both[8].startswith("From isotrain.start. Training loss at equal steps: ahead of every rival on 1 of 1")
    page = worse.save(tmp_path / "contest.html").read_text()
    assert "<svg" in page and "momentum" in page and "http" not in page.replace("http-equiv", "")
    assert worse.save(tmp_path / "contest.png").stat().st_size > 10_000
    assert json.loads(worse.save(tmp_path / "c.json").read_text())["kind"] == "suite"
    tables = worse.save(tmp_path / "contest.md").read_text()
    assert "| | isotrain | momentum | adam |\n|---|---|---|---|\n| digits | 0.11 | 0.4 | **0.02** |" in tables


def test_a_quick_contest_resumes(tmp_path):
    found = race(tmp_path, ["digits"], ["isotrain"], quick=True, workers=1, progress=False)
    before = (tmp_path / "digits.json").stat().st_mtime_ns
    assert found.scores["digits"]["isotrain"].cost is not None
    again = race(tmp_path, ["digits"], ["isotrain"], quick=True, workers=1, progress=False)
    assert again.scores == found.scores
    assert (tmp_path / "digits.json").stat().st_mtime_ns == before


def test_a_problem_without_its_data_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("ISOTRAIN_DATA", raising=False)
    found = race(tmp_path, ["lstm"], ["isotrain"], quick=True, progress=False)
    assert any("Left out, lstm" in words and "ISOTRAIN_DATA" in words for words in found.verdict)


@pytest.mark.parametrize("asked", [{"problems": ["digit"]}, {"optimizers": ["adm"]}])
def test_unknown_names(tmp_path, asked):
    with pytest.raises(UnknownName, match="Did you mean"):
        race(tmp_path, **asked, progress=False)


def test_no_seed(tmp_path):
    with pytest.raises(BadOption, match="seeds=0"):
        race(tmp_path, ["digits"], seeds=0, progress=False)


def test_every_minibatch_order_is_its_seed():
    problem = PROBLEMS["digits"]
    one, two = problem.stream(0, 3), problem.stream(0, 20)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, two, strict=False))
    assert not torch.equal(problem.stream(1, 1)[0][0], one[0][0])


def test_averages_are_chosen_on_one_half_and_judged_on_the_other():
    halves = [((1.0, 0.5), (9.0, 0.1)), ((2.0, 0.6), (3.0, 0.7)), ((math.inf, None), (math.nan, None))]
    assert _crossed(halves) == (5.5, pytest.approx(0.35))  # the first by the first half, judged 9; the second, judged 2
    assert _crossed(halves[2:]) == (None, None)


def test_a_run_from_before_averages_is_made_again_at_the_best_rate_alone_and_keeps_its_cost(tmp_path):
    results = Results(tmp_path)
    (steps,) = lengths("digits", "adam")
    for rate in RIVALS["adam"].rates:
        results.add(replace(entry("adam", rate, 0, 1.0 + abs(rate - 0.00215), steps), averaged=None, cost=1.1))
    (key,) = planned(results, ["digits"], ["adam"], 1, 1.0)
    assert key.rate == 0.00215
    results.add(entry("adam", key.rate, 0, 1.0, steps))
    assert not list(planned(results, ["digits"], ["adam"], 1, 1.0))
    assert Results(tmp_path).entries[key].cost == 1.1


def test_held_out_is_compared_with_the_spread_of_the_best_rival(tmp_path):
    results = Results(tmp_path)
    for seed, final in enumerate((0.30, 0.31, 0.32)):
        results.add(entry("isotrain", 0.0, seed, final))
    for seed, final in enumerate((0.10, 0.20, 0.315)):
        results.add(entry("soap", 0.003, seed, final))
    words = standing(results, ["digits"], ["isotrain", "soap"], 1.0).verdict
    assert words[3].endswith("or better, on 1 of 1 problems.")  # .31 is below the worst, .315
    results.add(entry("soap", 0.003, 2, 0.305))
    words = standing(results, ["digits"], ["isotrain", "soap"], 1.0).verdict
    assert "on 0 of 1 problems; behind on digits (soap)" in words[3]
    assert "on 1 of 1 problems" in words[4]  # as many right answers
    assert words[6].startswith("Held-out answers, all with averaged weights: within")
