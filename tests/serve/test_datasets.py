"""Uploads of data: what is honest is kept, what is hostile is refused in one line, and nothing half-written stays."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from PIL import Image

from isotrain.errors import BadData
from isotrain.serve.datasets import DATA, Datasets, Refused
from isotrain.serve.datasets_unpacked import Room, put

ROOM = Room(bytes=20_000_000, files=500, pixels=1_000_000, free=1_000_000)


@dataclass
class Sent:
    name: str
    content: bytes

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Sent:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", kind) as archive:
        for name, inside in entries:
            archive.writestr(name, inside)
    return Sent("data.zip", content.getvalue())


def picture(colour: int, size: tuple[int, int] = (16, 16)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, (colour, 255 - colour, 40)).save(content, "png")
    return content.getvalue()


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def encrypted() -> Sent:
    content = bytearray(zipped(("a.txt", b"secret"), kind=zipfile.ZIP_STORED).content)
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return Sent("a.zip", bytes(content))


def lying() -> Sent:
    """An archive whose list says that a file of 3 MB has ten bytes."""
    content = bytearray(zipped(("a.txt", bytes(3_000_000))).content)
    for at in (22, content.index(b"PK\x01\x02") + 24):
        content[at : at + 4] = struct.pack("<I", 10)
    return Sent("a.zip", bytes(content))


HOSTILE: dict[str, tuple[list[Sent], str]] = {
    "nothing": ([], "no file came"),
    "bomb": ([zipped(("a.txt", bytes(15_000_000)))], "unpacks to more than 200 times"),
    "bomb of many": ([zipped(*((f"{n}.txt", bytes(900_000)) for n in range(20)))], "unpacks to more than"),
    "sizes that lie": ([lying()], "damaged"),
    "slip": ([zipped(("../../evil.txt", b"x"))], "leads out of the folder"),
    "slip by backslash": ([zipped(("a\\..\\..\\evil.txt", b"x"))], "leads out of the folder"),
    "absolute": ([zipped(("/etc/evil.txt", b"x"))], "a place of its own"),
    "drive": ([zipped(("C:/evil.txt", b"x"))], "a place of its own"),
    "link": ([zipped((entry("a.txt", stat.S_IFLNK | 0o777), b"/etc/passwd"))], "is a link"),
    "device": ([zipped((entry("a.txt", stat.S_IFCHR | 0o666), b""))], "a device"),
    "name of a device": ([zipped(("cats/con.jpg", b"x"))], "no name on every system"),
    "control letters": ([zipped(("cats/a\x1b[2J.jpg", b"x"))], "no name on every system"),
    "too deep": ([zipped(("a/" * 20 + "a.jpg", b"x"))], "longer than"),
    "nested": ([zipped(("more.zip", zipped(("a.txt", b"x")).content))], "archive in the upload"),
    "nested in disguise": ([zipped(("cat.jpg", zipped(("a.txt", b"x")).content))], "archive in the upload"),
    "gzip bomb": ([zipped(("a.txt.gz", gzip.compress(bytes(19_000_000))), kind=0)], "unpacks to more than"),
    "twice": ([zipped(("a/b.txt", b"x"), ("a//b.txt", b"y"))], "there twice"),
    "capitals": ([zipped(("a/b.txt", b"x"), ("A/B.txt", b"y"))], "systems without capitals"),
    "file and folder": ([zipped(("a", b"x"), ("a/b.txt", b"y"))], "a file and a folder"),
    "folder and file": ([zipped(("a/b.txt", b"x"), ("A", b"y"))], "a file and a folder"),
    "encrypted": ([encrypted()], "encrypted"),
    "cut short": ([Sent("a.zip", zipped(("a.txt", os.urandom(5000))).content[:-40])], "damaged"),
    "damaged": ([Sent("a.zip", b"PK\x03\x04" + bytes(500))], "damaged"),
    "unusual": ([zipped(("a.txt", b"x"), kind=zipfile.ZIP_LZMA)], "unusual way"),
    "junk alone": ([zipped(("__MACOSX/a.jpg", b"x"), (".hidden", b"x"))], "holds no files"),
    "many": ([zipped(*((f"{n}.txt", b"") for n in range(501)))], "500 are taken"),
    "pictures too many": ([Sent(f"{n}.png", b"x") for n in range(501)], "more than 500 files"),
    "pixels": ([Sent("cats/a.png", picture(3, (1500, 1000)))], "1 million at most"),
    "zip among pictures": ([Sent("a.png", picture(3)), zipped(("b.png", b"x"))], "archive"),
    "names of pictures": ([Sent("a/../../b.png", picture(3)), Sent("c.png", b"")], "leads out of the folder"),
    "no name": ([Sent("", b"x")], "has no name"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_hostile_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    files, words = HOSTILE[what]
    folder = tmp_path / "deep" / "down" / "data"
    folder.mkdir(parents=True)
    with pytest.raises(BadData, match=words) as refused:
        put(files, folder, ROOM)
    assert "\n" not in str(refused.value) and str(tmp_path) not in str(refused.value)
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    assert outside == []


def test_a_hundred_thousand_tiny_entries_are_refused_before_one_is_written(tmp_path: Path) -> None:
    many = zipped(*((f"{n}", b"") for n in range(100_000)), kind=0)
    with pytest.raises(BadData, match=r"100,000 files, 80,000 are taken"):
        put([many], tmp_path, Room())
    assert list(tmp_path.iterdir()) == []


def test_pictures_keep_their_folders_and_junk_is_left_out(tmp_path: Path) -> None:
    files = [Sent("pets/cats/a b.png", picture(3)), Sent("pets/döner/c.png", picture(9)), Sent("pets/.DS_Store", b"x")]
    assert put(files, tmp_path, ROOM) == sum(len(file.content) for file in files[:2])
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"pets/cats/a b.png", "pets/döner/c.png"}


def classes(number: int = 6) -> Sent:
    entries = [
        (f"{kind}/{n}.png", picture(base + n)) for kind, base in (("cat", 0), ("dog", 90)) for n in range(number)
    ]
    return zipped(*entries)


def test_data_is_checked_for_its_task_and_kept_or_refused_with_all_faults(tmp_path: Path) -> None:
    datasets = Datasets(tmp_path)
    kept = datasets.add("classify", [classes()])
    assert kept.classes == ["cat", "dog"] and sum(kept.samples.values()) == 12 and kept.format == "class folders"
    assert [one.id for one in datasets.all()] == [kept.id] and datasets.find(kept.id) == kept
    assert kept.command() == (str(kept.folder / DATA),)
    with pytest.raises(Refused, match=r"^detect cannot learn from it: the data \(class folders\) has no boxes"):
        datasets.add("detect", [classes()])
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [kept.id]  # nothing of the refused one
    datasets.delete(kept)
    assert list((tmp_path / "datasets").iterdir()) == []


def test_two_files_of_sentences_are_sides_of_a_translation(tmp_path: Path) -> None:
    english = "".join(f"the cat number {n} sleeps\n" for n in range(40)).encode()
    datasets = Datasets(tmp_path)
    kept = datasets.add("translate", [Sent("b.tgt", english.upper()), Sent("a.src", english)])
    assert kept.arguments == ["--source", "a.src", "--target", "b.tgt"] and kept.samples["train"] >= 38


def test_what_a_kill_left_is_swept_up(tmp_path: Path) -> None:
    half: Any = tmp_path / "datasets" / ".new-0123456789ab" / DATA
    half.mkdir(parents=True)
    (half / "a.png").write_bytes(b"half")
    datasets = Datasets(tmp_path)
    assert datasets.all() == []
    datasets.sweep()
    assert list((tmp_path / "datasets").iterdir()) == []
