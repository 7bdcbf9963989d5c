"""The model card of a run: what the net is for, what it was trained on and by, how well it does, and where it ends.

README.md with a front matter in YAML, as Hugging Face's hub reads it. It is meant to be passed on: of the data it has
the last name alone, no path, no host; and of people no name.

Source: Mitchell et al. 2019, "Model cards for model reporting"; the front matter's names are those of Hugging Face's
documentation, "Model cards".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PureWindowsPath
from typing import Any

from isotrain.train.rundir import SCORES, RunFolder

README = "README.md"
MOST = 40
"""Classes that a card lists."""
QUIET = ("faces",)
"""Tasks whose classes are people: they are counted, and not named."""
PLACES = ("pretrained", "regions")
"""Options that are files: their last name alone is told."""
UNTOLD = ("classes", "symbols", "source", "target", "vocabulary", "words", "mean", "deviation")
"""What a task's card holds that is data rather than a choice."""


@dataclass(frozen=True)
class About:
    """A task in the words of a card.

    Attributes:
        kind: as the hub calls it (pipeline_tag).
        does: what the net does.
        use: what it is for.
        limits: what it does not do, and how it goes wrong.
        ask: how it is asked, behind `isotrain predict RUN`.
        data: what is given to `isotrain evaluate RUN`.
    """

    kind: str
    does: str
    use: str
    limits: str
    ask: str = "photo.jpg"
    data: str = "more-photos/"


_SEEN = (
    "It has seen pictures of its data alone: on others (another camera, light, or subject) its answers are worth less"
)
ABOUT = {
    "classify": About(
        "image-classification",
        "says which of its classes a picture shows",
        "Sorting pictures that are like those it learned from.",
        f"{_SEEN}. It knows no other class than these, and names one of them whatever is shown.",
    ),
    "localise": About(
        "image-classification",
        "says which of its classes a picture shows, and where, at several scales",
        "Finding the one thing that a picture shows; proposing regions to a detector.",
        f"{_SEEN}. Of several things it reports the clearest; its boxes are coarse.",
    ),
    "detect": About(
        "object-detection",
        "finds the objects of its classes in a picture, each with a box and a score",
        "Counting and finding things in pictures that are like those it learned from.",
        f"{_SEEN}. Small, crowded and half hidden objects are missed most.",
    ),
    "masks": About(
        "image-segmentation",
        "finds objects in a picture and draws the outline of each",
        "Cutting objects out of pictures that are like those it learned from.",
        f"{_SEEN}. Thin parts are cut off, touching objects may come as one.",
    ),
    "finder": About(
        "object-detection",
        "finds faces in a picture",
        "Finding faces, as the first step of a chain that aligns and recognises them.",
        f"{_SEEN}. It is not to be used to watch people who have not agreed.",
    ),
    "landmarks": About(
        "keypoint-detection",
        "finds 68 points of a face in a crop of it",
        "Aligning faces before they are compared.",
        f"{_SEEN}. Profiles and hidden parts are guessed.",
        "crop.jpg",
    ),
    "faces": About(
        "feature-extraction",
        "turns an aligned face into a vector, near that of the same person's other faces",
        "Finding the same person again in one's own photos, with that person's consent.",
        "How well it tells people apart differs between groups of people, and follows who is in its data. It is not to "
        "be used to identify people who have not agreed, nor where a mistake would harm somebody. The people it "
        "learned from are not named here, and it cannot name them.",
        "face.jpg",
        "more-people/",
    ),
    "characters": About(
        "text-generation",
        "writes a text on, a character at a time",
        "Studying what a recurrent net makes of a text.",
        "It repeats what it has read, parts of it word for word: do not pass on a net of a text that is not to be "
        "passed on. What it writes is not true.",
        '--prompt "The "',
        "other.txt",
    ),
    "translate": About(
        "translation",
        "translates sentences",
        "Translating sentences that are like those it learned from.",
        "Long sentences, rare words, names and numbers go wrong most, and it does not say when. What matters must be "
        "read by somebody who knows both languages.",
        '--text "A dog runs."',
        "--source test.en --target test.de",
    ),
    "caption": About(
        "image-to-text",
        "says in a sentence what a picture shows",
        "Describing pictures that are like those it learned from.",
        f"{_SEEN}. It says likely things, also where they are not there.",
        data="photos/ captions.json",
    ),
}
OTHER = About("other", "answers as its task says", "What its task is for.", "It knows its data alone.")


def model_card(run: RunFolder, name: str = "", files: Sequence[str] = ()) -> str:
    """The card of a run, from what its folder says.

    Args:
        run: a run that has ended.
        name: of the model; "": the folder's.
        files: ONNX files that lie beside the card; none: the run's own weights do.

    Raises:
        BadCheckpoint: the folder holds no run, or is damaged.
    """
    document = run.card()
    outcome = run.read_json(SCORES)
    task: str = document["task"]
    told = ABOUT.get(task, OTHER)
    name = name or run.path.resolve().name
    data = document["data"]
    named = last_name(str(data.get("source") or "")) or "generated"
    parts = [
        f"# {name}",
        f"A net that {told.does}. Trained by `isotrain train {task}`; this card was written by isotrain "
        f"{document['isotrain']}, and is written anew by each training in this folder.",
        f"## What it is for\n\n{told.use}\n\n**Limits.** {told.limits}",
        f"## How to use it\n\n{_usage(task, told, files)}",
        f"## Data\n\n{_data(task, named, data, document['card'])}",
        f"## Scores\n\n{_scores(told, outcome, bool(files))}",
        f"## How it was trained\n\n{_trained(document, outcome)}",
    ]
    return _front(name, task, told, named, outcome, bool(files)) + "\n\n".join(parts) + "\n"


def last_name(place: str) -> str:
    r"""The last name of a path, of whichever system.

    >>> last_name("/data/photos/"), last_name(r"C:\photos\cats.zip"), last_name("digits")
    ('photos', 'cats.zip', 'digits')
    """
    return PurePath(PureWindowsPath(place).name).name


def _front(name: str, task: str, told: About, data: str, outcome: Mapping[str, Any], exported: bool) -> str:
    """The front matter. Strings are written as JSON has them, which YAML reads."""
    metrics = list(dict.fromkeys(key for scores in _parts(outcome).values() for key in _numbers(scores)))
    lines = [
        "---",
        "license: unknown # the weights are yours: say under which licence you pass them on",
        "library_name: isotrain",
        f"pipeline_tag: {told.kind}",
        "tags:",
        *(f"- {tag}" for tag in ("isotrain", task, "onnx" if exported else "safetensors")),
        "datasets:",
        f"- {json.dumps(data, ensure_ascii=False)}",
    ]
    if metrics:
        lines += ["metrics:", *(f"- {json.dumps(metric)}" for metric in metrics)]
        lines += ["model-index:", f"- name: {json.dumps(name, ensure_ascii=False)}", "  results:"]
        for part, scores in _parts(outcome).items():
            lines += [
                "  - task:",
                f"      type: {told.kind}",
                "    dataset:",
                f"      type: {json.dumps(data, ensure_ascii=False)}",
                f"      name: {json.dumps(data, ensure_ascii=False)}",
                f"      split: {json.dumps(part)}",
                "    metrics:",
            ]
            for metric, value in _numbers(scores).items():
                lines += [f"    - type: {json.dumps(metric)}", f"      value: {value:.6g}"]
    return "\n".join([*lines, "---", "", ""])


def _parts(outcome: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parts of the data that were scored, with a number at least."""
    return {part: scores for part, scores in outcome.get("scores", {}).items() if _numbers(scores)}


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in scores.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _usage(task: str, told: About, files: Sequence[str]) -> str:
    if files:
        named = " and ".join(f"`{file}`" for file in files)
        return (
            f"{named}, by onnxruntime, without torch. What goes in and out is named in the file, whose metadata `card` "
            "is JSON with the task's choices:\n\n"
            "```python\nimport json\n\nimport onnxruntime\n\n"
            f'session = onnxruntime.InferenceSession("{files[0]}")\n'
            'card = json.loads(session.get_modelmeta().custom_metadata_map["card"])\n'
            "print([(entry.name, entry.shape) for entry in session.get_inputs()])\n```"
        )
    return (
        f"```sh\nisotrain predict RUN {told.ask}\nisotrain export RUN --to onnx\n```\n\n"
        "where RUN is this folder. In Python:\n\n"
        "```python\nfrom isotrain.train.rundir import load_run\n\n"
        'task, net, card = load_run("RUN")  # the net in evaluation mode; safetensors, no pickle\n```'
    )


def _data(task: str, named: str, data: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    sizes = data.get("samples") or {}
    told = ", ".join(f"{size:,} {part.replace('_', ' ')}" for part, size in sizes.items())
    lines = [f"{named}: {data.get('format') or 'of no stated format'}. Samples: {told or 'not counted'}."]
    classes = list(card.get("classes") or ())
    if task in QUIET:
        lines.append(f"{len(classes):,} people, who are not named here.")
    elif classes:
        more = f" and {len(classes) - MOST:,} more" if len(classes) > MOST else ""
        lines.append(f"{len(classes):,} classes: {', '.join(map(_plain, classes[:MOST]))}{more}.")
    lines.append("What of it is scored was not learned from; `held out` also chose the weights that are kept.")
    return "\n\n".join(lines)


def _scores(told: About, outcome: Mapping[str, Any], exported: bool) -> str:
    parts = _parts(outcome)
    if not parts:
        return f"Nothing was held out: `isotrain evaluate RUN {told.data}` scores the run on data of yours."
    names = list(dict.fromkeys(name for scores in parts.values() for name in _numbers(scores)))
    lines = [f"| | {' | '.join(parts)} |", "|---" * (len(parts) + 1) + "|"]
    for name in names:
        values = [_numbers(scores).get(name) for scores in parts.values()]
        told_values = " | ".join("" if value is None else f"{value:.4g}" for value in values)
        lines.append(f"| {_plain(name)} | {told_values} |")
    of = "the run that this was exported from" if exported else "this folder"
    commands = "\n".join(f"isotrain evaluate RUN --split {part}" for part in parts)
    return "\n".join([*lines, "", f"Again, on the same data (RUN is {of}):", "", f"```sh\n{commands}\n```"])


def _trained(document: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
    plan = document["plan"]
    rows = {
        "isotrain": document["isotrain"],
        **{key: plan[key] for key in ("optimizer", "batch", "seed", "epochs", "minutes") if plan.get(key) is not None},
        "steps": outcome.get("steps"),
        "seconds": None if outcome.get("seconds") is None else round(outcome["seconds"], 1),
    }
    chosen = {key: value for key, value in document["card"].items() if key not in UNTOLD and _is_choice(value)}
    for key in PLACES:
        if isinstance(chosen.get(key), str):
            chosen[key] = last_name(chosen[key])
    lines = ["| | |", "|---|---|"]
    lines += [f"| {_plain(key)} | {_plain(value)} |" for key, value in (rows | chosen).items() if value is not None]
    notes = "".join(f"\n\n{note[:1].upper()}{note[1:]}." for note in outcome.get("notes", ()))
    return "\n".join(lines) + notes


def _is_choice(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) and len(str(value)) <= 80


def _plain(value: Any) -> str:
    r"""A value as it may stand in Markdown: no markup, no cell's end, no line's end.

    >>> print(_plain("<b>a|b_c</b>"))
    &lt;b>a\|b\_c&lt;/b>
    """
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    for sign in "\\`*_|[]#":
        text = text.replace(sign, f"\\{sign}")
    return text
