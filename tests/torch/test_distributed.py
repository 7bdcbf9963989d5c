"""DistributedDataParallel on two gloo processes: replicas stay equal, and train as one process would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from small_problem import net, same, train

from isotrain import Riemannian

EXACT = {"metric": "outer-product", "subsample": 1.0, "lr": 1e-2, "damping": 0.1}


def two_processes(folder):
    """What each of the two processes found."""
    script = Path(__file__).with_name("two_processes.py")
    running = [
        subprocess.Popen(
            [sys.executable, script, str(rank), folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes(tmp_path):
    """One test, since starting two processes takes longer than all they do."""
    ranks = two_processes(tmp_path)
    replicas_stay_equal_bit_for_bit(ranks)
    for name in ("exact", "no_sync", "made_before"):
        two_processes_train_as_one(ranks, name)
    where_one_process_refuses_all_do(ranks)
    layers_that_some_processes_use(ranks)
    as_many_micro_batches_everywhere(ranks)
    layers_that_no_process_uses_do_not_move(ranks)
    assert all(rank["compiled"] for rank in ranks), "processes are not found inside torch.compile"


def replicas_stay_equal_bit_for_bit(ranks):
    for name in ("exact", "natural", "momentum", "no_sync", "made_before"):
        assert same(ranks[0][name], ranks[1][name]), name


def two_processes_train_as_one(ranks, name):
    """Where nothing is drawn. In no_sync damping is relative to each micro-batch's own reach."""
    model = net()
    start = [p.detach().clone() for p in model.parameters()]
    train(model, Riemannian(model, **EXACT), range(4))
    for found, p, first in zip(ranks[0][name]["parameters"], model.parameters(), start, strict=True):
        gap = (found - p).abs().max() / (p - first).abs().max()
        assert gap < (0.2 if name == "no_sync" else 1e-4)
        if name != "no_sync":
            torch.testing.assert_close(found, p, rtol=1e-6, atol=1e-6)


def where_one_process_refuses_all_do(ranks):
    said = [rank["one_bad_batch"][0] for rank in ranks]
    assert said[0] == ("IsotrainError", said[0][1]) and "another process refused" in said[0][1]
    assert said[1][0] == "NotFinite"
    assert same(ranks[0]["one_bad_batch"][1], ranks[1]["one_bad_batch"][1])
    assert same(ranks[0]["one_bad_batch"][1], ranks[0]["natural"])


def layers_that_some_processes_use(ranks):
    said = [rank["different_branches"][0] for rank in ranks]
    assert all(kind == "NotObserved" and "on some processes" in text for kind, text in said)
    assert same(ranks[0]["different_branches"][1], ranks[1]["different_branches"][1])


def as_many_micro_batches_everywhere(ranks):
    said = [rank["uneven_pieces"][0] for rank in ranks]
    assert all(kind == "UnsupportedOperation" and "1, 2 times" in text for kind, text in said)
    assert same(ranks[0]["uneven_pieces"][1], ranks[1]["uneven_pieces"][1])
    assert same(ranks[0]["uneven_pieces"][1], ranks[0]["natural"])


def layers_that_no_process_uses_do_not_move(ranks):
    assert all(rank["different_branches"][2] for rank in ranks)
