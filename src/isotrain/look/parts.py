"""What can be exchanged in a look: each part says something of photos, or that it does not know.

"Any run folder or ONNX file replaces any part": `part_named` finds out which it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

Tell = Callable[[str], None]
SHIPPED, NONE = "shipped", "none"
WEIGHTS = Path(__file__).parent.parent / "weights" / "look"
"""The nets that come with isotrain: a run folder for each part."""
UNSURE = 0.4
"""Probability below which a part that answers for a whole picture says that it is not sure."""


@dataclass
class Told:
    """What a part says of one photo.

    Attributes:
        says: as the document of a sight has it.
        unknown: what it does not know, a sentence each.
    """

    says: Any
    unknown: list[str] = field(default_factory=list)


class Part(ABC):
    """One of the parts.

    Attributes:
        name: "class", "objects" or "caption".
        identity: binds what it says to its weights: two parts of one identity say the same.
        about: plain JSON: what it knows, what it learned from, where it comes from.
    """

    name: str
    identity: str
    about: dict[str, Any]

    @abstractmethod
    def look(self, pictures: Sequence[Tensor]) -> list[Told]:
        """What it says of photos uint8 [C, H, W] of any sizes."""
