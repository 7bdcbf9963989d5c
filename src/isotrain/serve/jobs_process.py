"""A process known again: by its number and by when it began, so that a number used a second time deceives nobody."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from isotrain.aside import write_aside

LOCK, PID = "lock", "pid.json"
TAKEN = 75
"""Exit code of a process that found another one at work in its folder."""


def environment(**own: str) -> dict[str, str]:
    """The environment of a process that this server begins: ours, without the galleries' passphrase, and its own."""
    return {name: value for name, value in os.environ.items() if name != "ISOTRAIN_PASSPHRASE"} | own


def started(pid: int) -> str | None:
    """When a process began, in words that no other process with its number has; None if it has ended.

    >>> started(os.getpid()) == started(os.getpid()) != started(os.getppid())
    True
    """
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"  # state, and clock ticks since the boot
    words = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, when = words.stdout.strip().partition(" ")
    return None if not when or state.startswith("Z") else when.strip()


def note_myself(folder: Path) -> None:
    """Write down who this process is."""
    pid = os.getpid()
    write_aside(folder / PID, json.dumps({"pid": pid, "started": started(pid)}).encode())


def pid_in(folder: Path) -> int | None:
    """The number of the process that works in a folder, if it still runs and is the one that was written down."""
    try:
        found = json.loads((folder / PID).read_text(encoding="utf-8"))
        pid, since = int(found["pid"]), found["started"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return pid if since is not None and started(pid) == since else None


def locked(folder: Path) -> bool:
    """Whether a process works in a folder: it holds the folder's lock until it ends, however it ends."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def send(folder: Path, number: signal.Signals, group: bool = False) -> bool:
    """Send a signal to the process in a folder, or to it and all it began; whether there was one."""
    pid = pid_in(folder)
    if pid is None:
        return False
    try:
        (os.killpg if group else os.kill)(pid, number)
    except ProcessLookupError:
        return False
    return True
