"""A photo in words, by the encoder.onnx and decoder.onnx that `isotrain export` writes of a run of `caption`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isotrain.data.symbols import Words
from isotrain.errors import BadCheckpoint, BadOption
from isotrain.faces.onnx_model import first_line
from isotrain.look.onnx_file import OnnxFile
from isotrain.look.parts import Part, Tell, Told
from isotrain.look.words import told_words
from isotrain.tasks.classify_card import fitted
from isotrain.train.exporting_text import DECODER, ENCODER
from isotrain.train.onnx_greedy import greedy

TOGETHER = 32
NO_MEASURE = "cannot tell whether the caption net knows this kind of picture"


class OnnxWords(Part):
    """A caption, the likeliest word each time.

    Args:
        path: the folder of both files, or one of them.
        tell: is told nothing here.

    Raises:
        BadCheckpoint: a file cannot be read or run.
        BadOption: one is missing, or they were not exported from a run of caption.
        MissingExtra: onnxruntime is not there.
    """

    name = "caption"

    def __init__(self, path: Path, tell: Tell) -> None:
        folder = path if path.is_dir() else path.parent
        for name in (ENCODER, DECODER):
            if not (folder / name).is_file():
                raise BadOption(f"--caption {path}: {folder / name} is not there; `isotrain export` writes both files.")
        self.encoder, self.decoder = (
            OnnxFile(folder / name, "--caption", "puts pictures into words") for name in (ENCODER, DECODER)
        )
        card = self.encoder.card
        if card.get("task") != "caption" or self.decoder.card != card:
            raise BadOption(
                f"--caption {folder}: its files were not exported together from one run of caption (task "
                f"{card.get('task')} and {self.decoder.card.get('task')})."
            )
        self.card, self.symbols = card, Words(card["symbols"]["words"])
        digests = self.encoder.digest + self.decoder.digest
        self.identity = f"onnx:{digests}"
        self.about = {
            "part": "caption", "from": str(folder), "task": "caption", "classes": [], "learned from": "",
            "tells what it does not know": False, "weights": digests,
        }  # fmt: skip

    def look(self, pictures: Sequence[Tensor]) -> list[Told]:
        """The caption of each photo, or why there is none."""
        told: list[Told] = []
        for start in range(0, len(pictures), TOGETHER):
            some = pictures[start : start + TOGETHER]
            size = [self.card["size"]] * 2
            shown = torch.stack([fitted(one, self.card["channels"], *size) for one in some]).float() / 255
            heard = _Heard(self.decoder.session, self.card["writing"])
            try:
                rows = greedy(self.encoder.session, heard, shown.numpy(), self.card["longest"] + 1)
            except Exception as error:  # onnxruntime has a class for each status
                raise BadCheckpoint(
                    f"--caption {self.encoder.path.parent} does not run: {first_line(error)}"
                ) from error
            sure = heard.sure([len(row) for row in rows])
            told += [
                told_words(self.symbols.decode(row), share, NO_MEASURE) for row, share in zip(rows, sure, strict=True)
            ]
        return told


class _Heard:
    """A decoder that notes how sure it was of each word."""

    def __init__(self, session: Any, marks: dict[str, Any]) -> None:
        self.session, self.marks = session, marks
        self.steps: list[NDArray[np.float64]] = []

    def run(self, output_names: Any, input_feed: dict[str, Any]) -> list[Any]:
        """As the decoder."""
        given: list[Any] = self.session.run(output_names, input_feed)
        logits_bv = np.asarray(given[0], np.float64).copy()
        logits_bv[:, self.marks["never"]] = -np.inf
        top_b = logits_bv.max(1)
        self.steps.append(-np.log(np.exp(logits_bv - top_b[:, None]).sum(1)))
        return given

    def get_modelmeta(self) -> Any:
        """As the decoder."""
        return self.session.get_modelmeta()

    def sure(self, lengths: Sequence[int]) -> list[float]:
        """Mean probability of a word of each row, the end counted as one."""
        logs_tb = np.stack(self.steps)
        return [
            math.exp(float(logs_tb[: min(length + 1, len(logs_tb)), row].mean())) for row, length in enumerate(lengths)
        ]
