"""`isotrain evaluate RUN --pairs FILE PEOPLE/`: LFW's protocols with an embedder, and its calibration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isotrain.app.files import put
from isotrain.app.telling import say
from isotrain.data.opened import folder_of
from isotrain.data.pairs import Pairs, read_pairs
from isotrain.data.pictures import read_picture
from isotrain.errors import BadData, BadOption
from isotrain.faces.chain import EMBEDDER, Chain, central
from isotrain.faces.parts import Found
from isotrain.faces.protocol import Learned, Training, verify
from isotrain.faces.recognise import write_calibration
from isotrain.faces.verification_report import ShownPair, advice, hardest, save_verification
from isotrain.progress import Tick, progress_bar

CHUNK = 32
LFW_BOX = 1 / 2.2
"""Side of the face in sides of LFW's pictures, in whose middle it is (Huang et al. 2007, section 3)."""
REPORT = "pairs.html"


def evaluate_pairs(
    run: Path, pairs_file: Path, people: str | None, out: Path | None, keep: bool, quiet: bool
) -> dict[str, Any]:
    """Follow the protocol that a file of pairs is made for.

    Args:
        run: a run folder of faces, or an ONNX model; the folder "shipped" stands for the one that comes with isotrain.
        pairs_file: LFW's pairs.txt or pairsDevTrain.txt, or a table.
        people: the folder with a folder for each person; None: that of the pairs.
        out: folder of the report; None: the run's, or runs/faces for a model.
        keep: write the calibration that the pairs give beside the embedder.
        quiet: no progress.

    Returns:
        The figures and what they rest on, as JSON can hold it.

    Raises:
        BadData: the pairs cannot be read, or a picture is missing; the message names file and line.
        BadOption: the report cannot be written.
    """
    shipped = str(run) == "shipped" and not run.exists()
    embedder = EMBEDDER if shipped else run
    chain = Chain.of(embedder=embedder, tell=say)
    folder = pairs_file.parent if people is None else folder_of(people)
    pairs = read_pairs(pairs_file, folder)
    with progress_bar("faces", len(pairs.pictures), not quiet) as part:
        vectors, crops, missed = represented(pairs.pictures, chain, part(""))
    training = Training("unrestricted", _learned(embedder, chain))
    found = verify(pairs, vectors.numpy(), training)
    home = out if out is not None else Path("runs/faces") if shipped or run.suffix == ".onnx" else run
    try:
        page = save_verification(found, home / REPORT, shown=_hardest(found, pairs, crops))
    except OSError as error:
        raise BadOption(
            f"{home / REPORT} cannot be written: {error.strerror or error}. Choose another --out."
        ) from error
    written = [str(page)]
    notes = []
    if missed:
        notes.append(
            f"In {len(missed)} of {len(pairs.pictures)} pictures no face was found and the middle was taken, as LFW's "
            f"pictures have it there: {', '.join(path.name for path in missed[:3])}{' ...' if len(missed) > 3 else ''}."
        )
    notes += _flattered(embedder, pairs, shipped)
    if found.calibration is not None and keep and not shipped:
        written.append(str(write_calibration(embedder, chain.embedder.id, found.calibration, str(pairs_file))))
        notes.append("Thresholds of look, identify, verify and cluster are now those of these pairs.")
    document = {
        "kind": "pairs", "run": str(run), "model": chain.embedder.id, **found.to_dict(),
        "advice": [] if found.calibration is None else advice(found.calibration), "notes": notes, "written": written,
    }  # fmt: skip
    put(home / "pairs.json", (json.dumps(document, indent=1) + "\n").encode())
    return document


def represented(
    pictures: Sequence[Path], chain: Chain, tick: Tick | None = None
) -> tuple[Tensor, list[Tensor], list[Path]]:
    """The vector and crop of the central face of each picture, and the pictures in which none was found.

    There the square in the middle is taken, as LFW's pictures have it.

    Raises:
        BadData: a picture cannot be read.
    """
    vectors: list[Tensor] = []
    crops: list[Tensor] = []
    missed: list[Path] = []
    for start in range(0, len(pictures), CHUNK):
        some = pictures[start : start + CHUNK]
        with ThreadPoolExecutor(2) as pool:
            shown = list(pool.map(read_picture, some))
        found = chain.cutter.detector.find(shown)
        boxes = []
        for path, picture, one in zip(some, shown, found, strict=True):
            place = central(picture, one)
            if not len(place):
                missed.append(path)
            boxes.append(one.boxes[place] if len(place) else _middle(picture).boxes)
        together = torch.cat(boxes)
        marked = chain.cutter.landmarker.mark(shown, together)
        aligned = chain.cutter.aligner.crops(shown, together, marked)
        exact = aligned.crops.mul(255).round_().to(torch.uint8)
        vectors.append(chain.embedder.embed(exact.float() / 255))
        crops += list(exact)
        if tick is not None:
            tick(len(some))
    if not vectors:
        raise BadData("there are no pictures in these pairs.")
    return torch.cat(vectors), crops, missed


def _middle(picture: Tensor) -> Found:
    height, width = picture.shape[1:]
    half = min(height, width) * LFW_BOX / 2
    box = [width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half]
    return Found(torch.tensor([box]), torch.zeros(1))


def _learned(embedder: Path, chain: Chain) -> tuple[Learned, ...]:
    """What each part of the chain was learned from: the protocol's name hangs on it."""
    parts = [
        Learned("detector", f"{chain.cutter.detector.name}: faces' boxes", "label-free"),
        Learned("landmarks", f"{chain.cutter.landmarker.name}: faces' landmarks", "label-free"),
    ]
    if embedder.suffix == ".onnx":
        return (*parts, Learned("representation", f"{embedder.name}, by others", "labeled"))
    from isotrain.train.rundir import RunFolder

    source = str(RunFolder(embedder).card()["data"].get("source") or "?")
    # People of LFW itself are what "unrestricted" allows; all else is labelled data from outside.
    inside = any(name in Path(source).name.lower() for name in ("lfw", "labeled faces in the wild"))
    return (*parts, Learned("representation", Path(source).name, "no" if inside else "labeled"))


def _flattered(embedder: Path, pairs: Pairs, shipped: bool) -> list[str]:
    """Whether people of the pairs were learned from: the figures then say too much."""
    if shipped:
        return ["The shipped representation learned from people of LFW: figures on pairs of LFW flatter it."]
    if embedder.suffix == ".onnx":
        return []
    from isotrain.train.rundir import RunFolder

    learned = set(RunFolder(embedder).card()["card"]["classes"])
    people = {path.parent.name for path in pairs.pictures}
    known = len(people & learned)
    return [f"{known} of these {len(people)} people were learned from: the figures flatter the run."] if known else []


def _hardest(found: Any, pairs: Pairs, crops: Sequence[Tensor]) -> list[ShownPair]:
    shown = []
    for places in hardest(found):
        for place in places.tolist():
            first, second = int(pairs.first[place]), int(pairs.second[place])
            pixels = [crop[0].numpy() if len(crop) == 1 else crop.permute(1, 2, 0).numpy() for crop in
                      (crops[first], crops[second])]  # fmt: skip
            names = (pairs.pictures[first].stem, pairs.pictures[second].stem)
            shown.append(
                ShownPair(pixels[0], pixels[1], float(found.similarities[place]), bool(found.same[place]), names)
            )
    return shown
