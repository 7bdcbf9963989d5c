"""`isotrain export`: a run's net as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isotrain.app.files import put
from isotrain.train.exporting import export_onnx
from isotrain.train.exporting_text import MODEL, WRITERS, export_writer
from isotrain.train.modelcard import README, model_card
from isotrain.train.rundir import RunFolder, load_run


def export(run: Path, out: Path | None, check: bool, rank: int | None) -> dict[str, Any]:
    """Write a run's net for use without torch.

    Args:
        run: its folder.
        out: the file; or a folder, where a model card is put beside; None: in the run's folder. Tasks whose net becomes
            two files take a folder alone.
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
    folder = run if out is None else out if not out.suffix else None
    path = out if folder is None else folder / MODEL
    assert path is not None, "one of the two is there"
    if task.name in WRITERS:
        several = task.name != "characters" and folder is not None
        files = [exported.to_dict() for exported in export_writer(task, net, path.parent if several else path, check)]
    else:
        exported = export_onnx(task.exported(net), task.example(), path, {"task": card["task"], **task.card}, check)
        files = [exported.to_dict()]
    if task.name == "faces":
        from isotrain.faces.pipelines import sidecar_of

        put(path.with_suffix(".json"), sidecar_of(run.resolve().name, task.card).encode())
    document: dict[str, Any] = {"kind": "export", "run": str(run)}
    document |= files[0] if len(files) == 1 else {"files": files}
    if out is None or folder is None:  # the run's folder has a card of its own
        return document
    names = [Path(file["path"]).name for file in files]
    return document | {"card": put(folder / README, model_card(RunFolder(run), files=names).encode())}
