"""Text for pictures: which of the installed fonts have its letters, and signs that can be seen for those that cannot.

Matplotlib brings DejaVu; letters that it lacks (Chinese, Hindi) are looked for in the other fonts of the machine.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache

SANS, MONO = "DejaVu Sans", "DejaVu Sans Mono"
MISSING = "□"
"""Stands for a letter that no font has."""
SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "\N{NO-BREAK SPACE}": "⍽"}
"""What is read but not seen."""


def visible(character: str) -> str:
    """A character as something that can be seen by itself.

    >>> [visible(character) for character in ("a", " ", chr(10), chr(0), chr(0x301))]
    ['a', '␣', '↵', '␀', '◌́']
    """
    if character in SIGNS:
        return SIGNS[character]
    if character < " ":
        return chr(0x2400 + ord(character))
    kind = unicodedata.category(character)
    if kind.startswith("M"):
        return "◌" + character
    # What steers or is not (yet) a character has no look at all; a half of a pair cannot even be drawn.
    return MISSING if kind[0] in "CZ" else character


def lettered(texts: Iterable[str], family: str = SANS) -> tuple[list[str], list[str]]:
    """Texts that can be drawn, and the families of fonts that have their letters, the first one first.

    Letters that no installed font has, line ends and all that cannot be seen but a space become signs.

    Args:
        texts: what is to be drawn.
        family: of the font for all that it has.

    >>> lettered(["a $b_1$", "a" + chr(10) + "b", chr(0x10FFFD)])
    (['a $b_1$', 'a↵b', '□'], ['DejaVu Sans'])
    """
    seen = ["".join(c if c == " " or unicodedata.category(c)[0] == "M" else visible(c) for c in text) for text in texts]
    families, lacking = [family], {ord(c) for text in seen for c in text} - letters_of(family)
    if lacking:
        for other in (SANS, *others()):
            if lacking & letters_of(other):
                families.append(other)
                lacking -= letters_of(other)
    return [text.translate(dict.fromkeys(lacking, MISSING)) for text in seen], families


@cache
def letters_of(family: str) -> frozenset[int]:
    """Code points of the letters that matplotlib draws with the font that it takes for a family; none if it cannot."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file_of(family))
        return frozenset(font.get_charmap()) if font.scalable else frozenset()  # colour bitmaps cannot be drawn
    except (OSError, RuntimeError, ValueError):  # a font that was uninstalled or is of a kind unknown to matplotlib
        return frozenset()


@cache
def file_of(family: str) -> str:
    """The file that matplotlib takes for a family."""
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties(family=[family]), fallback_to_default=False))


@cache
def others() -> tuple[str, ...]:
    """Names of the other installed families, those without letters of their own left out."""
    from matplotlib.font_manager import fontManager

    names = {entry.name for entry in fontManager.ttflist}
    return tuple(sorted(name for name in names if not name.startswith(("DejaVu", "Last Resort", "STIX", "cm"))))
