"""Ray as isotrain starts it: on this machine alone, without a dashboard, telling nobody, and quiet."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from isotrain.errors import BadOption, MissingExtra

STORE = 100 * 2**20
"""Bytes of shared memory of processes on this machine: what goes through it are numbers of shards."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # or it would tell its makers
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # in the files of a session that is removed at the end
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
ONLY_HERE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0, Ray listens on the loopback alone, as it does on Windows and macOS anyway: else everybody near could run
programs here."""


def import_ray(address: str | None) -> Any:
    """Ray, with its usage statistics off, for this machine alone or the cluster at an address.

    Raises:
        MissingExtra: it is not installed.
    """
    for name, value in {**SETTINGS, **({ONLY_HERE: "0"} if _is_here(address) else {})}.items():
        os.environ.setdefault(name, value)  # read when it is imported
    try:
        with quiet():
            import ray
            import ray.data  # noqa: F401 (warns when it is imported)
    except ImportError as error:
        raise MissingExtra("looking with --cluster needs Ray: pip install 'isotrain[cluster]'.") from error
    return ray


@contextmanager
def quiet() -> Iterator[None]:
    """Ray warns of its own parts, which nobody here can mend, and tells of every step."""
    logger = logging.getLogger("ray")
    loggers = [logger, logging.getLogger("ray.data")]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[int]:
    """Ray, while this lasts.

    It is the program's own if it has one, else the cluster at an address, else processes of this machine.

    Args:
        address: of a running cluster, host:port.
        workers: processes of this machine; None: one for each core.

    Yields:
        Cores there.

    Raises:
        BadOption: there is no such cluster, or Ray was imported before it could be kept to this machine.
    """
    ray = import_ray(address)
    if ray.is_initialized():
        yield int(ray.cluster_resources().get("CPU", 1))
        return
    folder = None
    chosen: dict[str, Any] = {"address": address}
    if address is None:
        folder = tempfile.mkdtemp(prefix="isotrain-ray-")
        cores = workers or len(os.sched_getaffinity(0))
        chosen = {
            "address": "local", "num_cpus": cores, "num_gpus": 0, "object_store_memory": STORE,
            "include_dashboard": False, "_temp_dir": folder,
        }  # fmt: skip
    try:
        with quiet():
            _start(ray, chosen)
        if _is_here(address) and ray.util.get_node_ip_address() not in LOOPBACK:
            raise BadOption(
                f"Ray was imported before isotrain and would listen to other machines: set {ONLY_HERE}=0, or "
                "call ray.init yourself."
            )
        with redirect_stdout(sys.stderr):  # Ray prints there that a worker died, whatever it is told
            yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        with quiet():
            ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _start(ray: Any, chosen: dict[str, Any]) -> None:
    """Start Ray, or connect to it; again where it was too slow.

    Raises:
        BadOption: there is no such cluster, or none can be started here.
    """
    for again in (True, True, False):
        try:
            with _hushed():
                ray.init(**chosen, log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=False)
            return
        except Exception as error:
            # Ray gives its processes 30 seconds, which cannot be changed, and raises a bare Exception.
            late = type(error) is Exception and "timed out during startup" in str(error)
            if late and again:
                continue
            if not late and not isinstance(error, (ConnectionError, ValueError, RuntimeError)):
                raise
            raise BadOption(
                f"there is no cluster of Ray at {chosen['address']} ({str(error).splitlines()[0]}): start one with "
                "`ray start --head`, leave --address out, or, if this machine is too busy, try again."
            ) from error


def _is_here(address: str | None) -> bool:
    return address is None or address.rpartition(":")[0].strip("[]") in LOOPBACK


@contextmanager
def _hushed() -> Iterator[None]:
    """Nothing on stderr: Ray's core says there that it was told to say nothing."""
    sys.stderr.flush()
    own, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.close(nowhere)
