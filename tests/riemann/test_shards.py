"""Parameters cut over two processes by fully_shard: one process's run, a state in shares, and a checkpoint's."""

from __future__ import annotations

import pytest
import torch
from alongside import side_by_side
from cut_curves import NAMES
from torch import nn

from isotrain import Riemannian
from isotrain.riemann.shards import share_of


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What one process found, and the two together."""
    folder = tmp_path_factory.mktemp("cut")
    side_by_side("cut_curves.py", folder, [[*one, str(folder)] for one in (["0", "1"], ["0", "2"], ["1", "2"])])
    return [torch.load(folder / f"{name}.pt", weights_only=True) for name in ("0of1", "0of2", "1of2")]


@pytest.mark.parametrize("name", NAMES)
def test_one_process_s_run(runs, name):
    one, first, second = (run[name] for run in runs)
    for alone, left, right, again in zip(
        one["parameters"], first["parameters"], second["parameters"], first["resumed"], strict=True
    ):
        torch.testing.assert_close(left, alone, rtol=1e-9, atol=1e-9)
        assert torch.equal(left, right)
        torch.testing.assert_close(again, left, rtol=1e-12, atol=1e-12)
    if name != "reader":  # all of whose tensors are small
        assert first["share"] < 0.8, "the state is not cut: small tensors alone are kept whole"
    assert one["claims"] == first["claims"]


def test_shares_cover_everything_once():
    for length in range(9):
        for world in range(1, 6):
            shares = [share_of(length, world, rank) for rank in range(world)]
            assert [row for first, end in shares for row in range(first, end)] == list(range(length))
            cut = torch.arange(length).chunk(world) if length else ()
            assert [end - first for first, end in shares if end > first] == [len(part) for part in cut]


def test_whole_parameters_need_no_processes():
    assert Riemannian(nn.Linear(2, 2))._mesh is None
