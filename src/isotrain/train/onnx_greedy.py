"""Writing with exported nets, without torch: numpy and onnxruntime are all it takes.

Letters: b row, s place of what is looked at, v symbol.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Session(Protocol):
    """What is needed of an `onnxruntime.InferenceSession`."""

    def run(self, output_names: Any, input_feed: dict[str, Any]) -> list[Any]:
        """Outputs for inputs."""

    def get_modelmeta(self) -> Any:
        """The file's metadata."""


def card_of(session: Session) -> dict[str, Any]:
    """The card that an exported file carries: its task, its vocabularies, the numbers of its marks."""
    return dict(json.loads(session.get_modelmeta().custom_metadata_map["card"]))


def greedy(encoder: Session, decoder: Session, inputs: NDArray[Any], longest: int) -> list[list[int]]:
    """The likeliest symbol each time, until the end comes.

    Args:
        encoder: of encoder.onnx.
        decoder: of decoder.onnx.
        inputs: sources int64 [b, s], each with its end (2) and padded with 0; or pictures float32 [b, c, h, w] in
            [0, 1].
        longest: symbols at most, the end counted as one.

    Returns:
        For each row the numbers of its symbols, without begin and end.
    """
    marks = card_of(decoder)["writing"]
    name = "source" if inputs.dtype.kind == "i" else "pictures"
    values, keys, blocked, state = encoder.run(None, {name: inputs})
    last_b = np.full(len(inputs), marks["begin"], np.int64)
    written: list[list[int]] = [[] for _ in inputs]
    going_b = np.full(len(inputs), True)
    for _ in range(longest):
        logits_bv, state, _ = decoder.run(
            None, {"symbols": last_b, "values": values, "keys": keys, "blocked": blocked, "state_in": state}
        )
        logits_bv[:, marks["never"]] = -np.inf
        last_b = logits_bv.argmax(1)
        going_b &= last_b != marks["end"]
        for row in np.flatnonzero(going_b):
            written[row].append(int(last_b[row]))
        if not going_b.any():
            break
    return written
