"""What `isotrain look` found, in the terminal."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from isotrain.app.seeing_tables import MOST, new_console, new_table
from isotrain.look.lettering import plain

Document = dict[str, Any]


def show_look(document: Document) -> None:
    """A line a photo, and what is not known."""
    photos = document["photos"]
    console = new_console(f"{len(photos)} photo{'s' * (len(photos) != 1)}")
    table = new_table()
    for column in ("photo", "shows", "objects", "people", "caption"):
        table.add_column(column, overflow="fold")
    for photo in photos[:MOST]:
        table.add_row(*(escape(plain(words, 200)) for words in _row(photo)))
    console.print(table)
    if len(photos) > MOST:
        console.print(f"... and {len(photos) - MOST} more: they are in the album.")
    unknown: dict[str, int] = {}
    for photo in photos:
        for words in photo["unknown"]:
            unknown[words] = unknown.get(words, 0) + 1
    for words, count in sorted(unknown.items(), key=lambda one: -one[1])[:8]:
        console.print(
            f"{plain(words, 300)}{f' ({count} photos)' if len(photos) > 1 else ''}", style="dim", markup=False
        )
    if document["kept"]:
        console.print(f"{document['kept']} had been looked at before and have not changed.", markup=False)
    if document["skipped"]:
        console.print(f"{len(document['skipped'])} could not be read; they are named above.", markup=False)
    spent = document["seconds"]
    parts = ", ".join(f"{name} {1000 * took:.0f} ms" for name, took in spent.items())
    console.print(f"{sum(spent.values()):.2f} s: {parts}", style="dim", markup=False, soft_wrap=True)
    console.print("Written: " + ", ".join(document["written"]), markup=False, soft_wrap=True)


def show_look_on_cluster(document: Document) -> None:
    """How many photos, and where their records are."""
    console = new_console(f"{document['photos']:,} photos")
    for photo in document["skipped"]:
        console.print(f"{plain(photo['photo'], 200)}: {plain(photo['why'], 300)}", style="dim", markup=False)
    more = document["unreadable"] - len(document["skipped"])
    if more > 0:
        console.print(f"... and {more:,} more that could not be read: the records say why.", markup=False)
    looked, spent = document["looked"], document["seconds"].get("look", 0.0)
    pace = f" in {spent:,.1f} s by {document['workers']} workers, {looked / spent:.2f} a second" if spent else ""
    console.print(f"{looked:,} looked at{pace}; {document['kept']:,} by an earlier run.", markup=False)
    console.print("Written: " + ", ".join(document["written"]), markup=False, soft_wrap=True)


def _row(photo: Document) -> tuple[str, str, str, str, str]:
    kind, caption = photo["class"], photo["caption"]
    shows = "" if kind is None else f"{kind['name']} {kind['probability']:.0%}" if kind["name"] else "?"
    counted: dict[str, int] = {}
    for thing in photo["objects"] or []:
        counted[thing["name"]] = counted.get(thing["name"], 0) + 1
    objects = ", ".join(f"{number} {name}" if number > 1 else name for name, number in counted.items())
    faces = photo["faces"] or []
    people = ", ".join(face["person"] or "?" for face in faces)
    return photo["photo"], shows, objects, people, "" if caption is None else caption["text"] or "?"
