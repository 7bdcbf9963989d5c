"""`isotrain export`: a run's net as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isotrain.train.exporting import export_onnx
from isotrain.train.exporting_text import MODEL, WRITERS, export_writer
from isotrain.train.rundir import load_run


def export(run: Path, out: Path | None, check: bool, rank: int | None) -> dict[str, Any]:
    """Write a run's net for use without torch.

    Args:
        run: its folder.
        out: the file, or of tasks whose net becomes two files their folder; None: in the run's folder.
        check: compare with torch before anything is written.
        rank: of region nets, that their fully connected layers are cut down to; None: as they are.

    Returns:
        What was written, as JSON can hold it: of two files under "files".

    Raises:
        BadCheckpoint: no run, or damaged.
        BadOption: the place cannot be written, the net cannot be exported, or `rank` and it has no regions.
        MissingExtra: the packages of the extra "export" are not there.
    """
    task, net, card = load_run(run)
    if rank is not None:
        from isotrain.app.smaller import compressed

        net = compressed(task, net, rank)
    document = {"kind": "export", "run": str(run)}
    path = run / MODEL if out is None else out
    if task.name in WRITERS:
        place = run if out is None and task.name != "characters" else path
        files = [exported.to_dict() for exported in export_writer(task, net, place, check)]
        return document | (files[0] if len(files) == 1 else {"files": files})
    exported = export_onnx(task.exported(net), task.example(), path, {"task": card["task"], **task.card}, check)
    if task.name == "faces":
        from isotrain.app.files import put
        from isotrain.faces.pipelines import sidecar_of

        put(path.with_suffix(".json"), sidecar_of(run.resolve().name, task.card).encode())
    return document | exported.to_dict()
