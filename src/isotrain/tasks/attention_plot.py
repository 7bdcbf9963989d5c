"""Where a net looked while it wrote, as pictures: a translation word against word, a caption word by word.

Letters: t symbol written, s symbol read, h w place of a picture.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont
from PIL.Image import Image
from torch import Tensor

from isotrain.data.symbols import SPECIAL
from isotrain.data.text import END
from isotrain.errors import BadOption
from isotrain.figures import INK, new_figure
from isotrain.tasks.lettering import file_of, lettered, letters_of, visible

FAINT = "#d9dce1"
CELL, SMALLEST_CELL = 0.34, 0.19
"""Inches of a cell's side: of a short sentence, and of the longest."""
WIDEST = 14.0
"""Inches that the cells of a sentence take before they become smaller."""
LONGEST = 28
"""Letters of a word that are shown at most."""
DOTS = 110
"""Pixels of an inch."""
TILE, GAP = 176, 12
"""Pixels of the side of a picture lit for one word, and between two."""
IN_A_ROW = 6
DARK = 0.22
"""What is left of a picture's light where the net did not look."""


def attention_picture(source: Sequence[str], target: Sequence[str], share_ts: Tensor) -> Image:
    """What was read along the top, what was written down the side, and how much each looked at each.

    Args:
        source: symbols read, s; "▁" at the beginning of a piece is where a word begins.
        target: symbols written, t.
        share_ts: [t, s], shares of one.

    Raises:
        BadOption: not a row for each symbol written and a column for each one read; or there is none.
    """
    if share_ts.shape != (len(target), len(source)) or not share_ts.numel():
        raise BadOption(
            f"attention of shape {list(share_ts.shape)}: {len(target)} symbols written and {len(source)} read need "
            f"{[len(target), len(source)]}, of 1 or more."
        )
    cell = max(SMALLEST_CELL, min(CELL, WIDEST / max(len(source), len(target))))
    size = 11.0 * min(1.0, 1.2 * cell / CELL)
    read, read_fonts = lettered(_short(source))
    written, written_fonts = lettered(_short(target))
    figure, (axes,) = new_figure(1, 1, (cell * len(source), cell * len(target)))
    figure.subplots_adjust(0, 0, 1, 1)  # the words stand outside, wherever they end
    axes.imshow(share_ts.float().cpu().numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(source)), read, rotation=90, fontsize=size, color=INK, family=read_fonts)
    axes.set_yticks(range(len(target)), written, fontsize=size, color=INK, family=written_fonts)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # dollars are dollars
    axes.tick_params(length=0, pad=4)
    for side in axes.spines.values():
        side.set_color(FAINT)
    across, down = len(source) - 0.5, len(target) - 0.5
    axes.vlines([place - 0.5 for place in range(1, len(source))], -0.5, down, color=FAINT, linewidth=0.6)
    axes.hlines([place - 0.5 for place in range(1, len(target))], -0.5, across, color=FAINT, linewidth=0.6)
    axes.set(xlim=(-0.5, across), ylim=(down, -0.5))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, facecolor="white", bbox_inches="tight", pad_inches=0.12)
    return Pictures.open(buffer).convert("RGB")


def _short(symbols: Sequence[str]) -> list[str]:
    """As people write: words bare, a piece that goes on with a word after a hyphen, all of a bearable length.

    >>> _short(["▁play", "ing", ".", "▁", "</s>"])
    ['play', '-ing', '.', '␣', 'end']
    """
    pieces = any(symbol.startswith("▁") for symbol in symbols)
    bare = []
    for place, symbol in enumerate(symbols):
        if symbol == SPECIAL[END]:
            bare.append("end")
        elif symbol.startswith("▁"):
            bare.append(symbol[1:] or visible(" "))
        else:
            bare.append(f"-{symbol}" if pieces and place and symbol[:1].isalnum() else symbol)
    return [text if len(text) <= LONGEST else text[: LONGEST - 1] + "…" for text in bare]


def caption_picture(picture: Tensor, words: Sequence[str], share_thw: Tensor) -> Image:
    """The picture, then the picture once for each word, lit where the net looked, the word beneath.

    The light of each word is brightest where it looked most, whatever the share: a word that looked everywhere alike
    leaves the picture as it is.

    Args:
        picture: uint8 [C, H, W], one channel or three.
        words: t of them.
        share_thw: [t, h, w], shares of one over the whole picture.

    Raises:
        BadOption: not a map for each word.
    """
    if len(share_thw) != len(words):
        raise BadOption(f"{len(share_thw)} maps of attention are not those of {len(words)} words.")
    times = TILE / max(picture.shape[1:])
    height, width = (max(1, round(times * side)) for side in picture.shape[1:])
    whole_3hw = _enlarged(picture.expand(3, -1, -1).float(), height, width)
    tiles = [whole_3hw]
    for share_hw in share_thw.float():
        light_1hw = _enlarged((share_hw / share_hw.max().clamp_min(1e-12))[None], height, width).clamp(0, 1)
        tiles.append(whole_3hw * (DARK + (1 - DARK) * light_1hw))
    line = 26
    columns = min(IN_A_ROW, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    sheet = Pictures.new("RGB", (GAP + columns * (width + GAP), GAP + rows * (height + line + GAP)), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for place, (tile, word) in enumerate(zip(tiles, ["", *words], strict=True)):
        x = GAP + place % columns * (width + GAP)
        y = GAP + place // columns * (height + line + GAP)
        colours = tile.round().to(torch.uint8).permute(1, 2, 0).contiguous()
        sheet.paste(Pictures.fromarray(colours.numpy()), (x, y))
        text, font = _fitting(word, width)
        pen.text((x + width / 2, y + height + line / 2 + 2), text, fill=(36, 39, 44), font=font, anchor="mm")
    return sheet


def _enlarged(picture_chw: Tensor, height: int, width: int) -> Tensor:
    """Smooth where it becomes larger, and averaged where it becomes smaller."""
    return F.interpolate(picture_chw[None], (height, width), mode="bilinear", align_corners=False, antialias=True)[0]


def _fitting(word: str, width: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """A word in the font that has most of its letters, as large as there is room for, and cut where there is none."""
    (text,), families = lettered([word])
    family = max(families, key=lambda name: sum(ord(letter) in letters_of(name) for letter in text))
    for size in (16, 13, 10):
        font = ImageFont.truetype(file_of(family), size)
        if font.getlength(text) <= width:
            return text, font
    while font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…", font
