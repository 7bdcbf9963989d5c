"""Scripts of this folder in several processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def side_by_side(script: str, folder: Path, processes: list[list[str]]) -> None:
    """Run a script of this folder in several processes at once, until all have ended well."""
    command = [sys.executable, str(Path(__file__).with_name(script))]
    running = [
        subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for more in processes
    ]
    try:
        said = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * len(running), "\n".join(said)
