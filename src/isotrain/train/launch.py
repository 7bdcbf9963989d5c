"""Several processes on this machine, by torchrun's own engine: started, watched, and ended together."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from isotrain.errors import BadOption, IsotrainError
from isotrain.train.distributed import LOST, SILENT


def launch(processes: int, command: Sequence[str]) -> None:
    """Run `python -m isotrain COMMAND` in several processes that train together, until all have ended.

    What process 0 says is said here; of the others, the one that failed first is quoted.

    Raises:
        BadOption: a number of processes below 1.
        IsotrainError: a process failed: the others were ended.
        KeyboardInterrupt: asked to stop; each finished its step, and a checkpoint was saved.
        SystemExit: process 0 failed, and has said so itself.
    """
    if processes < 1:
        raise BadOption(f"--processes {processes} is no number of processes: give 1 or more.")
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    os.environ[SILENT] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    with tempfile.TemporaryDirectory(prefix="isotrain-") as folder:
        apart = {rank: Std.ALL for rank in range(1, processes)}
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=uuid.uuid4().hex, rdzv_backend="c10d",
            rdzv_endpoint="localhost:0", max_restarts=0, logs_specs=DefaultLogsSpecs(log_dir=folder, redirects=apart),
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-m", "isotrain", *command)
        except SignalException as stop:
            raise KeyboardInterrupt from stop
        except ChildFailedError as error:
            # Those that saw another one go are not the cause.
            failed = sorted(error.failures.items(), key=lambda pair: (pair[1].exitcode == LOST, pair[1].timestamp))
            rank, failure = failed[0]
            if failure.exitcode < 0:
                what = f"was killed ({signal.Signals(-failure.exitcode).name})"
            elif rank == 0:
                raise SystemExit(failure.exitcode) from None
            else:
                what = f"failed: {_last_words(Path(folder), rank) or f'exit code {failure.exitcode}'}"
            raise IsotrainError(
                f"process {rank} of {processes} {what.rstrip('.')}. All were ended; what was saved is untouched: go on "
                "with --resume."
            ) from None


def _last_words(folder: Path, rank: int) -> str:
    """The last line that a process wrote on stderr."""
    for log in folder.rglob(f"{rank}/stderr.log"):
        lines = log.read_text(errors="replace").strip().splitlines()
        if lines:
            return lines[-1].removeprefix("isotrain: ")
    return ""
