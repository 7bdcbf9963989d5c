"""What the commands for faces found, as tables in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from isotrain.app.seeing_tables import MOST, new_console, new_table

Document = dict[str, Any]


def show_look(document: Document) -> None:
    """A line a face, then what each stage took."""
    photos = document["photos"]
    count = sum(len(photo["faces"]) for photo in photos)
    console = new_console(f"{_many(count, 'face')} in {_many(len(photos), 'photo')}")
    table = new_table()
    for column in ("photo", "face", "person", "similarity", "probability", "pixels"):
        table.add_column(column, overflow="fold")
    rows = [(photo, face) for photo in photos for face in photo["faces"]]
    for photo, face in rows[:MOST]:
        left, top, right, bottom = face["box"]
        table.add_row(
            escape(photo["photo"]), str(face["face"]), escape(face["person"] or "?"), _number(face["similarity"]),
            _number(face["probability"]), f"{(right - left + bottom - top) / 2:.0f}",
        )  # fmt: skip
    if rows:
        console.print(table)
    if len(rows) > MOST:
        console.print(f"... and {len(rows) - MOST} more: --json has them all.")
    empty = [photo["photo"] for photo in photos if not photo["faces"]]
    if empty:
        shown = ", ".join(empty[:3]) + (" ..." if len(empty) > 3 else "")
        console.print(f"No face was found in {_many(len(empty), 'photo')}: {shown}", markup=False, soft_wrap=True)
    if not document["people known"]:
        console.print("Nobody is known yet: isotrain faces enroll NAME PHOTO.", markup=False)
    _show_skipped(console, document)
    spent = document["seconds"]
    whole = sum(spent.values())
    if whole > 0:
        parts = ", ".join(f"{name} {1000 * took:.0f} ms ({took / whole:.0%})" for name, took in spent.items())
        console.print(f"{whole:.2f} s: {parts}", style="dim", markup=False, soft_wrap=True)
    _show_written(console, document)


def show_verified(document: Document) -> None:
    """One sentence, and what it rests on."""
    console = new_console("The same person." if document["same"] else "Not the same person.")
    words = f"Similarity {document['similarity']:.3f}, the same person from {document['threshold']:.3f} on"
    probability = document["probability"]
    words += "" if probability is None else f"; probability {probability:.1%}, where half of all pairs are one person"
    console.print(words + ".", markup=False)


def show_enrolled(document: Document) -> None:
    """What was added."""
    person = document["person"]
    console = new_console(f"{person['called']}: {_many(person['faces'], 'face')}")
    console.print(f"Added {len(document['added'])}, known already {len(document['known'])}.", markup=False)
    _show_consents(console, [person])


def show_clustered(document: Document) -> None:
    """How many of what, and the people."""
    console = new_console(
        f"{_many(document['faces'], 'face')} of {_many(document['people'], 'person', 'people')}, "
        f"{document['alone']} of nobody; {document['moved']} moved by this clustering"
    )
    _show_who(console, document["who"])
    _show_skipped(console, document)
    console.print('Name one: isotrain faces name "#7" "Ada". Take it back: isotrain faces undo.', markup=False)
    _show_written(console, document)


def show_people(document: Document) -> None:
    """A line a person; with somebody's faces, a line a face."""
    who = document["who"]
    console = new_console(_many(len(who), "person", "people"))
    _show_who(console, who)
    if "faces" in document:
        table = new_table()
        for column in ("face", "photo", "by", "added"):
            table.add_column(column, overflow="fold")
        for face in document["faces"]:
            table.add_row(str(face["face"]), escape(face["photo"]), face["by"] or "", face["added"][:10])
        console.print(table)
    for name in document.get("consent ended", []):
        console.print(f"The consent of {name} has ended: isotrain faces purge.", markup=False)


def show_undone(document: Document) -> None:
    """What was taken back."""
    console = new_console(f"Taken back: {document['what']}")
    console.print(f"{document['faces']} faces and {document['people']} names are as they were.", markup=False)


def show_erased(document: Document) -> None:
    """What is gone, in numbers."""
    counted = ("people", "faces", "vectors", "crops", "photos", "consents", "steps")
    console = new_console("Erased: " + ", ".join(f"{document[name]} {name}" for name in counted))
    for path in document["shared"]:
        console.print(f"On record stays {path}: it shows somebody else's face too.", markup=False, soft_wrap=True)
    if not document["finished"]:
        console.print(
            "The last bytes are not gone yet (another reader, or a full disk): the next opening removes them.",
            markup=False,
        )


def show_exported(document: Document) -> None:
    """Where it is."""
    console = new_console(f"All that is kept about {document['who'][0]['called']}")
    _show_written(console, document)


def show_pairs(document: Document) -> None:
    """The protocol by its name, the figures, the advice."""
    console = new_console(document["protocol"])
    table = new_table()
    for column in ("", "", "95 %"):
        table.add_column(column)
    table.add_row("accuracy", f"{document['accuracy']:.2%}", f"± {document['standard error']:.2%} (standard error)")
    for name, key in (("AUC", "auc"), ("equal error rate", "equal error rate")):
        rate = document[key]
        table.add_row(name, f"{rate['value']:.4f}", f"{rate['low']:.4f} to {rate['high']:.4f}")
    for far, one in document["tar at far"].items():
        found = "too few pairs to say" if one is None else f"{one['value']:.2%}"
        between = "" if one is None else f"{one['low']:.2%} to {one['high']:.2%}"
        table.add_row(f"TAR at FAR {far}", found, between)
    console.print(table)
    for line in (*document["training"], *document["advice"], *document["notes"]):
        console.print(line, markup=False)
    _show_written(console, document)


def _show_who(console: Console, who: list[Document]) -> None:
    if not who:
        return
    table = new_table()
    for column in ("person", "faces", "consent", "until"):
        table.add_column(column, overflow="fold")
    for person in sorted(who, key=lambda one: -one["faces"])[:MOST]:
        consent = person["consent"] or {}
        table.add_row(
            escape(person["called"]), str(person["faces"]), escape(consent.get("basis") or ""),
            consent.get("until") or "",
        )  # fmt: skip
    console.print(table)
    if len(who) > MOST:
        console.print(f"... and {len(who) - MOST} more: --json has them all.")


def _show_consents(console: Console, who: list[Document]) -> None:
    for person in who:
        consent = person["consent"]
        if consent:
            until = "until they are to be forgotten" if consent["until"] is None else f"until {consent['until']}"
            console.print(f"Consent: {consent['basis']}, by {consent['by']}, {until}.", markup=False)


def _show_skipped(console: Console, document: Document) -> None:
    if document["skipped"]:
        console.print(f"Skipped {_many(len(document['skipped']), 'photo')} that cannot be read, named above.")


def _show_written(console: Console, document: Document) -> None:
    if document.get("written"):
        console.print("Written: " + ", ".join(document["written"]), markup=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _many(number: int, one: str, more: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"
