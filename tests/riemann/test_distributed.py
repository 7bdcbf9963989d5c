"""Two processes on the two halves of a batch make the run that one process makes on all of it."""

from __future__ import annotations

import pytest
import torch
from alongside import side_by_side
from shared_curves import CASES

from isotrain.riemann.ranks import Mean, Most, Ranks, Sum
from isotrain.riemann.record import Recorder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What one process found, and the two together."""
    folder = tmp_path_factory.mktemp("runs")
    side_by_side("shared_curves.py", folder, [[*one, str(folder)] for one in (["0", "1"], ["0", "2"], ["1", "2"])])
    return [torch.load(folder / f"{name}.pt", weights_only=True) for name in ("0of1", "0of2", "1of2")]


@pytest.mark.parametrize("name", CASES)
def test_same_curve_as_one_process(runs, name):
    one, first, second = (run[name] for run in runs)
    assert max(abs(a - b) for a, b in zip(one["losses"], first["losses"], strict=True)) < 1e-9
    for alone, left, right in zip(one["parameters"], first["parameters"], second["parameters"], strict=True):
        torch.testing.assert_close(left, alone, rtol=1e-9, atol=1e-9)
        assert torch.equal(left, right)
    assert first["equal"] and second["equal"], "replicas differ in some bit after some step"
    assert min(one["losses"]) < one["losses"][0], "nothing was learned: nothing was compared"
    assert one["claims"] == first["claims"]


class Two(Ranks):
    """Stands for the place of one of several processes, without any."""

    def __init__(self, rank: int, world: int) -> None:
        self.group, self.place, self.size, self.device = None, rank, world, torch.device("cpu")

    @property
    def rank(self) -> int:
        return self.place

    @property
    def world(self) -> int:
        return self.size


@pytest.mark.parametrize("each", [1, 2, 3, 8, 21, 64])
@pytest.mark.parametrize("world", [2, 3, 8, 64])
@pytest.mark.parametrize("share", [0.125, 0.41, 1.0])
def test_processes_look_at_the_samples_that_one_would(each, world, share):
    found, parts = [], []
    for rank in range(world):
        recorder = Recorder(torch.nn.Linear(1, 1), share, Two(rank, world))
        recorder.whole = False
        rows, part = recorder._rows(((torch.zeros(each, 1),), {}))
        own = torch.arange(each) if rows is None else rows
        found += (own + rank * each).tolist()
        parts.append(part)
        assert part[1] == len(own) >= min(each, 2)
    alone = Recorder(torch.nn.Linear(1, 1), share, Two(0, 1))
    alone.whole = False
    rows, _ = alone._rows(((torch.zeros(each * world, 1),), {}))
    expected = list(range(each * world)) if rows is None else rows.tolist()
    if len(expected) >= world * min(each, 2):  # else more are looked at than one process would
        assert found == expected
    assert [first for first, _, _ in parts] == [sum(n for _, n, _ in parts[:rank]) for rank in range(world)]
    assert {total for _, _, total in parts} == {len(found)}


def test_alone_a_question_gets_back_what_it_asks():
    def question():
        one, two, three = yield [Mean(torch.ones(1), 3), Sum(torch.ones(2)), Most(torch.zeros(1))]
        return [float(t.sum()) for t in (one, two, three)]

    assert Ranks(torch.nn.Linear(1, 1)).answers([question(), question()]) == [[1.0, 2.0, 0.0]] * 2
