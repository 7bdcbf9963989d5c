"""`isotrain predict` for runs that read text: writing on, and translating."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isotrain.app.files import put
from isotrain.app.telling import tell
from isotrain.data.textfiles import decoded, lines_of, read_utf8
from isotrain.errors import BadData, BadOption
from isotrain.nets.recurrent import CharacterNet
from isotrain.progress import progress_bar
from isotrain.seeds import checked_seed
from isotrain.tasks.characters import READ, Characters
from isotrain.tasks.sentences import Search
from isotrain.tasks.translate import Translate, Translation
from isotrain.train.rundir import load_run

FEW = 8
"""Sentences up to which it is drawn unasked where the net looked."""
GATES = "gates.png"
TOGETHER = 512
"""Sentences translated before their translations are written: of like length together in these."""


def write_on(
    run: Path,
    prompt: str,
    length: int,
    temperature: float,
    top_k: int | None,
    seed: int,
    as_json: bool,
    gates: Path | None = None,
) -> None:
    """Write a prompt and what follows it to stdout, as it comes; nothing of it is kept, but for JSON.

    Interrupted, it ends the line (or the object, which then says so) and passes the interruption on.

    Args:
        run: its folder.
        prompt: read first.
        length: symbols to write, one at least: characters, or bytes.
        temperature: below 1 likelier, above 1 bolder; 0: always the likeliest.
        top_k: draw among so many of the likeliest; None: among all.
        seed: of the draws.
        as_json: one object at the end instead.
        gates: folder for a picture of what units and gates did while they read prompt and text (their first 140
            symbols); None: no picture.

    Raises:
        BadCheckpoint: no run, or damaged.
        BadOption: the prompt has a character that the run does not know, or is empty; an option is outside its range;
            the place cannot be written.
        KeyboardInterrupt: interrupted.
    """
    if not prompt:
        raise BadOption("--prompt is empty: one character at least is needed to go on from.")
    checked_seed(seed, "--seed ")
    task, net, _ = load_run(run)
    assert isinstance(task, Characters), "the caller knows the task"
    text = islice(task.write(net, prompt, torch.Generator().manual_seed(seed), temperature, top_k), length)
    if as_json:
        _object(run, prompt, text, lambda read: _gates(task, net, read, gates))
        return
    begun = next(text, "")  # what is wrong with the prompt is told before anything is written
    read = prompt + begun
    try:
        _out(read)
        for piece in text:
            if len(read) < READ:
                read += piece
            _out(piece)
    finally:
        _out("\n")
    drawn = _gates(task, net, read, gates)
    if drawn is not None:
        print(f"Written: {drawn}", file=sys.stderr)


def _gates(task: Characters, net: nn.Module, read: str, folder: Path | None) -> str | None:
    """The picture of what gates did while the text was read, in a folder; its path."""
    if folder is None:
        return None
    from isotrain.tasks.gates_plot import gates_picture

    assert isinstance(net, CharacterNet), "the net is this task's"
    symbols = read.encode().decode("latin-1") if task.card["bytes"] else read
    drawn = io.BytesIO()
    gates_picture(net, task.symbols, symbols[:READ], gates=True).save(drawn, format="png")
    return put(folder / GATES, drawn.getvalue())


def _object(run: Path, prompt: str, pieces: Iterator[str], draw: Callable[[str], str | None]) -> None:
    written: list[str] = []
    stopped: KeyboardInterrupt | None = None
    try:
        for piece in pieces:
            written.append(piece)
    except KeyboardInterrupt as error:
        stopped = error
    whole = "".join(written)
    told = {"prompt": prompt, "text": whole, "symbols": len(written), "interrupted": stopped is not None}
    drawn = draw(prompt + whole) if stopped is None else None
    tell({"kind": "predict", "run": str(run), "task": Characters.name, **told, "drawn": drawn}, "", True)
    if stopped is not None:
        raise stopped


def _out(text: str) -> None:
    """To whoever reads, at once.

    Raises:
        BadOption: stdout cannot take it.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except UnicodeEncodeError as error:
        raise BadOption(
            f"stdout is written as {sys.stdout.encoding}, which has no {error.object[error.start]!r}: set "
            "PYTHONIOENCODING=utf-8, or take --json."
        ) from error


def translate(
    run: Path,
    texts: Sequence[str],
    file: Path | None,
    search: Search,
    pictures: bool | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write the translations of sentences to stdout, a line each, as they come; an empty line stays empty.

    Of several a sentence, each line has the sentence's number, the score and the translation, with tabs between them.

    Args:
        run: its folder.
        texts: sentences.
        file: of sentences, a line each, instead; "-" for stdin.
        search: how translations are looked for.
        pictures: draw where the net looked; None: of a few sentences.
        out: folder for these pictures; None: predictions/ in the run's.
        as_json: one object at the end instead.

    Raises:
        BadCheckpoint: no run, or damaged.
        BadData: the file cannot be read or is not UTF-8, or holds no sentence.
        BadOption: the place cannot be written.
    """
    sentences = list(texts) if file is None else _lines(file)
    if not any(sentence.strip() for sentence in sentences):
        raise BadData(f"{'--text' if file is None else file} holds no sentence.")
    task, net, _ = load_run(run)
    assert isinstance(task, Translate), "the caller knows the task"
    drawn = len(sentences) <= FEW if pictures is None else pictures
    folder = (run / "predictions" if out is None else out) if drawn else None
    answers: list[dict[str, Any]] = []
    written: list[str] = []
    watched = file is not None and not as_json and not sys.stdout.isatty()
    with progress_bar("translate", len(sentences), watched) as part:
        tick = part("sentences")
        for first in range(0, len(sentences), TOGETHER):
            some = sentences[first : first + TOGETHER]
            found = _found(task, net, some, search)
            for number, (sentence, best) in enumerate(zip(some, found, strict=True), first + 1):
                picture = None
                if folder is not None and best:
                    picture = _picture(task, sentence, best[0], folder / f"translation-{number}.png")
                    written.append(picture)
                cut = _cut(task, sentence)
                if as_json:
                    answers.append(_answer(sentence, best, cut, picture))
                    continue
                if cut:
                    which = f"sentence {number}" if file is None else f"{file}:{number}"
                    print(
                        f"{which} has more than {task.card['longest']} pieces: the rest is left out.", file=sys.stderr
                    )
                _out(_told(number, best, search.n_best > 1))
            tick(len(some))
    if as_json:
        tell({"kind": "predict", "run": str(run), "task": task.name, "predictions": answers}, "", True)
    elif written:
        print(f"Written: {', '.join(written)}", file=sys.stderr)


def _lines(file: Path) -> list[str]:
    return lines_of(decoded(sys.stdin.buffer.read(), "stdin") if str(file) == "-" else read_utf8(file))


def _found(task: Translate, net: nn.Module, sentences: Sequence[str], search: Search) -> list[list[Translation]]:
    """The best of each sentence; of one that is empty, none."""
    places = [place for place, sentence in enumerate(sentences) if sentence.strip()]
    found: list[list[Translation]] = [[] for _ in sentences]
    for place, best in zip(places, task.translate(net, [sentences[p] for p in places], search), strict=True):
        found[place] = best
    return found


def _cut(task: Translate, sentence: str) -> bool:
    longest: int = task.card["longest"]
    # A piece has a character at least: most sentences need not be looked at.
    return len(sentence) > longest and len(task.source.encode(sentence)) > longest


def _told(number: int, best: Sequence[Translation], several: bool) -> str:
    if not several:
        return f"{best[0].text if best else ''}\n"
    return "".join(f"{number}\t{one.score:.4f}\t{one.text}\n" for one in best)


def _answer(sentence: str, best: Sequence[Translation], cut: bool, picture: str | None) -> dict[str, Any]:
    told = [{"text": one.text, "score": one.score, "mean": one.mean, "pieces": one.pieces} for one in best]
    answer = {"sentence": sentence, "translation": best[0].text if best else "", "translations": told}
    return answer | {"cut": cut, "drawn": picture}


def _picture(task: Translate, sentence: str, best: Translation, path: Path) -> str:
    drawn = io.BytesIO()
    task.drawn(sentence, best).save(drawn, format="png")
    return put(path, drawn.getvalue())
