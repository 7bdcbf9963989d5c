"""What a training leaves, to be taken away: the model, as it is or as ONNX, its report, its pictures."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import threading
import zipfile
from pathlib import Path

from isotrain.errors import BadOption
from isotrain.serve.jobs import Job
from isotrain.serve.trainings import Busy
from isotrain.serve.trainings_work import EXPORT, Work
from isotrain.train.rundir import CARD, SCORES, WEIGHTS

README = "README.md"
PATIENCE = 600.0
"""Seconds that an export may take."""
_EXPORTING = threading.Lock()
"""One export at a time: each takes as much memory as its net."""


def model_zip(work: Work) -> bytes:
    """Card, weights and scores, as a folder that `isotrain predict` takes. It names no place on this machine.

    Raises:
        Busy: there are no weights yet.
    """
    _done(work)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as packed:
        for name in (CARD, WEIGHTS, SCORES, README):
            path = work.run / name
            if not path.is_file():
                continue
            told = path.read_bytes()
            if name == CARD:
                card = json.loads(told)
                card["data"]["source"] = Path(str(card["data"].get("source", ""))).name
                told = json.dumps(card, indent=1).encode() + b"\n"
            elif name == README:
                told = told.replace(f"{work.home}/".encode(), b"")
            packed.writestr(f"{_name(work)}/{name}", told)
    return content.getvalue()


def onnx(work: Work) -> tuple[str, bytes]:
    """The net without torch: the name of a file and its content; of several files a zip. Kept, once it was made.

    Raises:
        Busy: there are no weights yet, or the net cannot be exported.
    """
    _done(work)
    folder = work.folder / EXPORT
    with _EXPORTING:
        if not folder.is_dir():
            _export(work, folder)
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    nets = [path for path in files if path.name != README]
    if len(nets) == 1:
        return f"{_name(work)}.onnx", nets[0].read_bytes()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as packed:
        for path in files:
            packed.write(path, f"{_name(work)}-onnx/{path.name}")
    return f"{_name(work)}-onnx.zip", content.getvalue()


def _export(work: Work, folder: Path) -> None:
    """By `isotrain export`, in a process of its own; aside first."""
    aside = work.folder / f"{EXPORT}-{secrets.token_hex(4)}"
    job = Job(work.folder / f"{aside.name}-job", work.home)
    try:
        aside.mkdir()
        job.start(["export", str(work.run), "--out", str(aside)], threads=1)
        code = job.wait(PATIENCE)
        if code != 0:
            raise Busy(f"this net cannot be exported: {job.complaint() or f'it ended with code {code}.'}")
        os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(job.folder, ignore_errors=True)


def report(work: Work) -> bytes:
    """One page about the training, whether it is done or not.

    Raises:
        BadCheckpoint: it has not begun yet.
    """
    from isotrain.train.run_report import run_report

    return run_report(work.run, work.name).encode()


def _done(work: Work) -> None:
    if work.state != "done":
        raise Busy(f"the training is {work.state}: its model is kept when it is done. Resume it, or wait.")
    if not (work.run / WEIGHTS).is_file():
        raise BadOption(f"the training {work.id} has lost its {WEIGHTS}: train again.")


def _name(work: Work) -> str:
    """Of files that are taken away: no words of the user's, which would have to be escaped."""
    return f"isotrain-{work.task}-{work.id}"
