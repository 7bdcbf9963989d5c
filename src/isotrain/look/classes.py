"""What a photo shows, by a run of `classify` or `localise`, with the heat map of the class.

Letters: n photo, c channel, h w places, k class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.errors import BadCheckpoint
from isotrain.look.parts import UNSURE, Told
from isotrain.look.runs import RunPart
from isotrain.nets.resnet import ResNet
from isotrain.tasks.classify_card import fitted
from isotrain.tasks.localise import Localise

TOGETHER = 64
OTHERS = 4
"""Classes told of beside the likeliest one."""
FINEST = 32
"""Rows and columns of a heat map as it is told, at most."""


class RunClasses(RunPart):
    """A residual net's class and its class activation map, or the heat map of a net that localises.

    Source: Zhou et al. 2016, "Learning deep features for discriminative localization", equation 2: the last maps,
    weighted as the linear layer behind their mean weighs them for the class.
    """

    name = "class"

    def look(self, pictures: Sequence[Tensor]) -> list[Told]:
        """The class of each photo, or why it is not known."""
        told: list[Told] = []
        for start in range(0, len(pictures), TOGETHER):
            some = pictures[start : start + TOGETHER]
            told += self._localised(some) if isinstance(self.task, Localise) else self._classified(some)
        return [self._judged(one, why) for one, why in zip(told, self.knowing.why_not(pictures), strict=True)]

    def _classified(self, pictures: Sequence[Tensor]) -> list[Told]:
        net = cast(ResNet, self.net)
        high, wide = map(int, self.task.card["size"])
        shown_nchw = torch.stack([fitted(one, int(self.task.card["channels"]), high, wide) for one in pictures])
        last_nchw = net.through(net.stem(shown_nchw.float() / 255), range(len(net.blocks)))
        probabilities_nk = net.head(last_nchw).softmax(1)
        best_n = probabilities_nk.argmax(1)
        weight_kc = cast(nn.Linear, net.get_submodule("fc")).weight
        heat_nhw = torch.einsum("nchw,nc->nhw", last_nchw, weight_kc[best_n])
        return [
            Told(told_class(probabilities, self.task.classes, heat, shown_part(picture, high, wide)))
            for probabilities, heat, picture in zip(probabilities_nk, heat_nhw, pictures, strict=True)
        ]

    def _localised(self, pictures: Sequence[Tensor]) -> list[Told]:
        task = cast(Localise, self.task)
        told = []
        for picture in pictures:
            found = task.predict(self.net, picture)
            assert found.heat is not None, "runs of localise have heat maps"
            probabilities = torch.tensor(list(found.answer["classes"].values()))
            heat = found.heat[int(probabilities.argmax())]
            whole = [0.0, 0.0, float(picture.shape[2]), float(picture.shape[1])]
            told.append(Told(told_class(probabilities, task.classes, heat, whole)))
        return told

    def _judged(self, told: Told, why: str | None) -> Told:
        return judged(told, why, self.knowing.untold)


def told_class(probabilities_k: Tensor, classes: Sequence[str], heat_hw: Tensor, box: list[float]) -> dict[str, Any]:
    """The likeliest class as a sight has it.

    Args:
        probabilities_k: of the classes.
        classes: their names.
        heat_hw: of the likeliest, of any scale; what speaks against the class counts as nothing.
        box: part of the photo that the heat map covers.

    Raises:
        BadCheckpoint: the net gives what is no number.

    >>> told_class(torch.tensor([0.1, 0.9]), ["cat", "dog"], torch.ones(1, 1), [0, 0, 2, 2])["name"]
    'dog'
    """
    if not bool(torch.isfinite(probabilities_k).all()):
        raise BadCheckpoint("the class net gives what is no number: its training has failed, train it again.")
    values, places = probabilities_k.topk(min(OTHERS + 1, len(probabilities_k)))
    named = [[classes[place], round(value, 4)] for place, value in zip(places.tolist(), values.tolist(), strict=True)]
    return {
        "name": named[0][0], "probability": named[0][1], "known": True, "why": None, "others": named[1:],
        "heat": told_heat(heat_hw, box),
    }  # fmt: skip


def told_heat(heat_hw: Tensor, box: list[float]) -> dict[str, Any]:
    """A heat map as a sight has it: from 0 to 1, 32 rows and columns at most."""
    warm = heat_hw.float().clamp_min(0)
    if max(warm.shape) > FINEST:
        size = (min(FINEST, warm.shape[0]), min(FINEST, warm.shape[1]))
        warm = F.adaptive_avg_pool2d(warm[None], size)[0]
    warm = warm / warm.max().clamp_min(1e-12)
    rows, columns = warm.shape
    values = [round(value, 3) for value in warm.flatten().tolist()]
    return {"rows": rows, "columns": columns, "values": values, "box": [round(edge, 1) for edge in box]}


def judged(told: Told, why: str | None, untold: str | None) -> Told:
    """A class that is not known, or not sure, is no answer: its name is left out, and why is said.

    >>> unsure = Told({"name": "cat", "probability": 0.3, "known": True, "why": None, "others": [], "heat": None})
    >>> judged(unsure, None, None).says["name"] is None
    True
    """
    says = told.says
    if why is None and says["probability"] < UNSURE:
        likely = ", ".join(
            f"{name} {share:.0%}" for name, share in [[says["name"], says["probability"]], *says["others"][:1]]
        )
        why = f"not sure what this picture shows (most likely {likely})"
        says["others"] = [[says["name"], says["probability"]], *says["others"]][: OTHERS + 1]
    elif why is not None:
        says["others"] = []
    if why is not None:
        says |= {"name": None, "probability": None, "known": False, "why": why, "heat": None}
        told.unknown.append(f"class: {why}")
    elif untold is not None:
        told.unknown.append(f"class: {untold}")
    return told


def shown_part(picture: Tensor, high: int, wide: int) -> list[float]:
    """The part of a photo that a net of high x wide pixels is shown: its middle, in the net's shape.

    >>> shown_part(torch.zeros(3, 100, 200, dtype=torch.uint8), 32, 32)
    [50.0, 0.0, 150.0, 100.0]
    """
    height, width = picture.shape[1:]
    scale = min(height / high, width / wide)
    half_wide, half_high = wide * scale / 2, high * scale / 2
    return [width / 2 - half_wide, height / 2 - half_high, width / 2 + half_wide, height / 2 + half_high]
