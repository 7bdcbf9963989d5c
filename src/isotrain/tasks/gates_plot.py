"""What the units of a recurrent net do while it reads a text, as a picture.

The text runs along the top, a character above the moment after it was read; its colour says how surprised the net was
by it. Below it a row for each of the most telling units, and, if asked for, one for each of their gates.

Letters: t character, h unit, v symbol.
"""

from __future__ import annotations

import codecs
import io
import math
from typing import Any

import torch
from PIL import Image as Pictures
from PIL.Image import Image
from torch import Tensor

from isotrain.data.letters import Letters
from isotrain.errors import BadOption
from isotrain.figures import FAINT, INK, new_figure
from isotrain.nets.gates import KEEPING, activations, time_scales
from isotrain.nets.recurrent import CharacterNet
from isotrain.tasks.lettering import MONO, lettered, visible

ACROSS = 72
"""Characters of a line at most; a longer text is broken."""
COLUMN, ROW, DOTS = 0.145, 0.165, 110
"""Inches of a character and of a unit, and pixels of an inch."""
STARTLED = 5.0
"""Nats from which on a character is as red as can be: one in 150."""
ALIKE = 0.9
"""Correlation beyond which a unit says nothing new after another."""
FAINTEST = 0.1
"""Share of the best unit's mark below which a unit says nothing."""
BLUE, ORANGE, RED, PALE = "#2b6cc4", "#dd7a1f", "#d3222a", "#f8dcdd"


def gates_picture(net: CharacterNet, symbols: Letters, text: str, units: int = 12, gates: bool = False) -> Image:
    """A text, how surprised the net was by it, and what its most telling units held meanwhile.

    That is the hyperbolic tangent of an LSTM's cells (what they can hand on), the state of others: orange above 0, blue
    below. Which units these are, `telling` says; the first quarter of the text does not count, while the net comes from
    nothing in mind to its usual ways. Behind each stands its time scale in steps (`isotrain.nets.gates.time_scales`).

    Args:
        net: which reads from the beginning, nothing in mind.
        symbols: its letters.
        text: as in a sample, bytes as latin-1; two symbols or more.
        units: shown at most, of all layers together.
        gates: whether to show what the units' gates did, white where they were closed and black where open.

    Raises:
        BadOption: the text is too short or has an unknown character, or no units are asked for.
    """
    number_t = torch.tensor(symbols.stretch(text))
    if len(number_t) < 2 or units < 1:
        raise BadOption(f"{units} units while {len(number_t)} symbols are read: give one or more, and two or more.")
    with torch.no_grad():
        layers = activations(net.recurrent, net.embedding(number_t).unsqueeze(0))
        likely_tv = net.head(layers[-1]["state"]).log_softmax(1)
    nats = [math.nan, *(-likely_tv[:-1].gather(1, number_t[1:, None]).squeeze(1)).tolist()]
    held = "cell" if "cell" in layers[0] else "state"
    memory_th = torch.cat([inside[held].tanh() if held == "cell" else inside[held] for inside in layers], 1)
    chosen = telling(memory_th[len(memory_th) // 4 :], units)
    hidden = net.recurrent.hidden
    names = [f"{unit // hidden + 1}·{unit % hidden}" if len(layers) > 1 else f"{unit}" for unit in chosen]
    scales = None
    if any(name in layers[0] for name in KEEPING):
        scales = torch.cat([time_scales(inside) for inside in layers])[chosen].tolist()
    blocks = {held: memory_th[:, chosen]}
    if gates:
        for name in layers[0]:
            if name not in ("cell", "state"):
                blocks[name] = torch.cat([inside[name] for inside in layers], 1)[:, chosen]
    return _drawn(_characters(text, symbols.bytes_), nats, names, scales, blocks)


def telling(memory_th: Tensor, count: int) -> list[int]:
    """The units that switch most clearly and slowly between two levels, the clearest first.

    What of a unit's values merely drifts (a straight line in time) is taken away, and the rest is split into two levels
    as far apart as can be (Otsu's split). Its mark is the standard deviation of the levels times the correlation of
    the rest with itself a step before, which is near 1 for what stays on for a while and off for a while, and near 0
    for what flickers with every character. A unit that goes up and down (or down and up) with one already chosen is
    passed over, and so is one whose mark is less than a tenth of the best.

    Args:
        memory_th: values of the units at each time, two times or more.
        count: units wanted, at most.

    Source: Otsu 1979, "A threshold selection method from gray-level histograms" (variance between classes).

    >>> flickers, switches = [1.0, -1.0] * 4, [-1.0, -1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0]
    >>> telling(torch.tensor([flickers, switches, switches, [0.1] * 8]).T, 4)
    [1]
    """
    memory_th = memory_th.double()
    times = len(memory_th)
    deviation_th = memory_th - memory_th.mean(0)
    time_t = torch.linspace(-1, 1, times, dtype=torch.float64)
    deviation_th = deviation_th - time_t.unsqueeze(1) * (time_t @ deviation_th / time_t.square().sum())
    below_t1 = torch.arange(1, times, dtype=torch.float64).unsqueeze(1) / times
    # Of the lowest so many and the rest: the product of their shares times the squared distance of their means.
    sum_th = deviation_th.sort(0).values.cumsum(0)[:-1] / times
    between_h = (sum_th.square() / (below_t1 * (1 - below_t1))).amax(0)
    variance_h = deviation_th.square().mean(0).clamp_min(1e-12)
    slow_h = (1 - deviation_th.diff(dim=0).square().mean(0) / (2 * variance_h)).clamp_min(0)
    mark_h = between_h.sqrt() * slow_h
    normal_th = deviation_th / (variance_h * times).sqrt()
    chosen: list[int] = []
    for unit in mark_h.argsort(descending=True, stable=True).tolist():
        if len(chosen) == count or mark_h[unit] < FAINTEST * mark_h.max():
            break
        if not bool(((normal_th[:, chosen].T @ normal_th[:, unit]).abs() > ALIKE).any()):
            chosen.append(unit)
    return chosen


def _characters(text: str, bytes_: bool) -> list[str]:
    """Each symbol as something that can be seen; of bytes, a character at its last byte and dots before it."""
    if not bytes_:
        return [visible(character) for character in text]
    decoder, shown = codecs.getincrementaldecoder("utf-8")("replace"), []
    for byte in text.encode("latin-1"):
        read = decoder.decode(bytes([byte]))
        shown.append(visible(read[-1]) if read else "·")
    return shown


def _drawn(
    characters: list[str],
    nats: list[float],
    names: list[str],
    scales: list[float] | None,
    blocks: dict[str, Tensor],
) -> Image:
    """Line after line: the characters, then a block of rows for each kind of activation."""
    lines = math.ceil(len(characters) / ACROSS)
    across = math.ceil(len(characters) / lines)
    deep = 1.5 + len(blocks) * (len(names) + 0.4) + 1.1  # rows of a line, and air below
    height = lines * deep + 1.6
    figure, (axes,) = new_figure(1, 1, (COLUMN * across, ROW * height))
    figure.set_facecolor("white")
    figure.subplots_adjust(0, 0, 1, 1)
    axes.set(xlim=(0, across), ylim=(height, 0))
    axes.axis("off")
    colours = _ramp(BLUE, "white", ORANGE)
    drawn, families = lettered(characters, MONO)
    for line in range(lines):
        first, y = line * across, line * deep
        here = slice(first, first + across)
        _startling(axes, 0, y, drawn[here], nats[here], families)
        y += 1.5
        for name, value_tu in blocks.items():
            shown, low = (colours, -1) if name in ("cell", "state") else ("Greys", 0)
            part = value_tu[here].T.float().cpu().numpy()
            extent = (0, part.shape[1], y + len(names), y)
            axes.imshow(part, cmap=shown, vmin=low, vmax=1, extent=extent, aspect="auto", interpolation="nearest")
            _name_rows(axes, y, part.shape[1], name, names, scales if low else None)
            y += len(names) + 0.4
    _legend(axes, lines * deep + 0.6, colours, gates=len(blocks) > 1)
    axes.set(xlim=(0, across), ylim=(height, 0))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, facecolor="white", bbox_inches="tight", pad_inches=0.15)
    return Pictures.open(buffer).convert("RGB")


def _startling(axes: Any, x: float, y: float, characters: list[str], nats: list[float], families: list[str]) -> None:
    """Characters in the colours of their surprise: ink, then red, on a ground that reddens with it."""
    share_t = [0.0 if math.isnan(one) else min(1.0, one / STARTLED) for one in nats]
    extent = (x, x + len(nats), y + 1.4, y)
    axes.imshow([share_t], cmap=_ramp("white", PALE), vmin=0, vmax=1, extent=extent, aspect="auto", clip_on=False)
    inks = _ramp(INK, RED)(share_t)
    for place, (character, share, one) in enumerate(zip(characters, share_t, nats, strict=True)):
        axes.text(
            x + place + 0.5, y + 0.75, character, color=FAINT if math.isnan(one) else inks[place], family=families,
            fontsize=10.5, ha="center", va="center", fontweight="bold" if share > 0.5 else "normal", parse_math=False,
        )  # fmt: skip


def _ramp(*colours: str) -> Any:
    """Colours from one to the next."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("ramp", list(colours))


def _name_rows(axes: Any, y: float, width: int, kind: str, names: list[str], scales: list[float] | None) -> None:
    """Units and what is shown of them on the left, their time scales on the right."""
    look = {"fontsize": 7.5, "va": "center", "color": INK}
    for row, name in enumerate(names):
        axes.text(-0.5, y + row + 0.5, name, ha="right", **look)
        if scales is not None:
            axes.text(width + 0.5, y + row + 0.5, _steps(scales[row]), ha="left", **look)
    axes.text(
        -1.5 - 0.55 * max(map(len, names)),
        y + len(names) / 2,
        kind,
        rotation=90,
        ha="center",
        **{**look, "fontsize": 9},
    )
    if scales is not None:
        axes.text(width + 0.5, y - 0.7, "steps", ha="left", **look)


def _steps(scale: float) -> str:
    """As exact as matters.

    >>> [_steps(scale) for scale in (1.234, 9.96, 1234.5)]
    ['1.2', '10', '1,234']
    """
    return f"{scale:.1f}" if scale < 9.95 else f"{scale:,.0f}"


def _legend(axes: Any, y: float, colours: Any, gates: bool) -> None:
    """What the colours mean, beneath."""
    import numpy as np

    look = {"fontsize": 8.5, "va": "center", "color": INK}
    axes.text(0, y + 0.75, "surprise, nats", ha="left", **look)
    for nats in range(int(STARTLED) + 1):
        _startling(axes, 9 + 1.4 * nats, y, [str(nats)], [nats], [MONO])
    ramps = [("memory", colours, ("−1", "1")), *([("gates", "Greys", ("0", "1"))] if gates else [])]
    for place, (name, shown, ends) in enumerate(ramps):
        x = 20 + 17 * place
        axes.text(x, y + 0.75, name, ha="left", **look)
        axes.text(x + 5.6, y + 0.75, ends[0], ha="right", **look)
        extent = (x + 6, x + 12, y + 1.1, y + 0.3)
        axes.imshow(np.linspace(0, 1, 64)[None], cmap=shown, extent=extent, aspect="auto", clip_on=False)
        axes.text(x + 12.4, y + 0.75, ends[1], ha="left", **look)
