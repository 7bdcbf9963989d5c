"""Small data for the tasks that write, without files."""

from __future__ import annotations

from isotrain.data.samples import Dataset, Sample

VERSE = "the cat sat on the mat. the dog sat on the log. " * 40
WORDS = {
    "a": "ein",
    "dog": "hund",
    "cat": "kater",
    "runs": "rennt",
    "sleeps": "schläft",
    "red": "roter",
    "old": "alter",
}


def stretches(text: str = VERSE, length: int = 16) -> Dataset:
    """A text in stretches, each with the next one's first symbol."""
    samples = [
        Sample(text=text[first : first + length + 1], name=str(first), where=f"verse, character {first}")
        for first in range(0, len(text) - 1, length)
    ]
    cut = len(samples) * 9 // 10
    return Dataset((), samples[:cut], samples[cut:-2], samples[-2:], "verse", "a text")


def pairs() -> Dataset:
    """All sentences of article, adjective or none, animal and verb, in two languages."""
    found = []
    for adjective in ("", "red ", "old ", "red old "):
        for animal in ("dog", "cat"):
            for verb in ("runs", "sleeps"):
                source = f"a {adjective}{animal} {verb}"
                found.append((source, " ".join(WORDS[word] for word in source.split())))
    samples = [Sample(text=a, said=(b,), name=str(n), where=f"line {n}") for n, (a, b) in enumerate(found, 1)]
    return Dataset((), samples * 6, samples[::4], samples[1::4], "pairs", "sentences")
