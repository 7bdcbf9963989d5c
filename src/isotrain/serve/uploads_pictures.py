"""Pictures from strangers: what a file is, is found out from its content, and only its pixels are ever kept.

Nothing of a file's bytes is served again: pixels are decoded, turned as EXIF says, and encoded anew, so that scripts
in metadata, comments or behind the end of the picture are gone. Only five decoders are used, and a head that promises
too much is refused before anything is decoded.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import BinaryIO

from PIL import Image

from isotrain.data.pictures import open_picture, pixels_of
from isotrain.errors import BadData
from isotrain.serve.limits import MB, Limits
from isotrain.serve.uploads import shown_name
from isotrain.vision.drawing import image_of

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
HEAD = 64
SCANS = 100
"""Of a JPEG: an ordinary one has twelve at most, each costs a pass over all pixels, and one takes a few bytes."""
MARKER, START_OF_SCAN, END_OF_PICTURE = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]"), 0xDA, 0xD9
LARGE = 8 * MB
"""Pixels from which on one picture is decoded at a time, whatever else is."""
THUMBNAIL = 320
"""Pixels of the longer side."""
OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"II*\0", "a TIFF or raw picture"),
    (b"MM\0*", "a TIFF or raw picture"),
)


@dataclass(frozen=True)
class Encoded:
    """A picture as it is kept.

    Attributes:
        picture: a JPEG file's bytes, without metadata.
        thumbnail: the same, small.
        size: height and width in pixels.
    """

    picture: bytes
    thumbnail: bytes
    size: tuple[int, int]


class Decoder:
    """Decodes few pictures at a time, so that their pixels do not fill the memory.

    Args:
        limits: of the server.
        at_once: pictures.
    """

    def __init__(self, limits: Limits, at_once: int = 2) -> None:
        self._limits, self._some, self._large = limits, BoundedSemaphore(at_once), Lock()

    def encode(self, file: BinaryIO, name: str) -> Encoded:
        """The picture in a file, encoded anew.

        Raises:
            BadData: no picture, one of another kind, damaged, or too large; the message names it, as it was sent.
        """
        name = shown_name(name)
        kind = kind_of(file, name)
        with self._some:
            image = self._decoded(file, name, kind)
            height, width = image.height, image.width
            picture = jpeg_of(image, 92)
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            return Encoded(picture, jpeg_of(image, 80), (height, width))

    def _decoded(self, file: BinaryIO, name: str, kind: str) -> Image.Image:
        file.seek(0)
        if kind == "WEBP":  # Pillow makes room for all pixels when it opens one
            self._fits(*webp_size(file, name), name)
        with open_picture(file, [kind], Path(name)) as opened:
            self._fits(opened.width, opened.height, name)
            most, longest = self._limits.stored, max(opened.size)
            if kind == "JPEG" and longest > most:
                opened.draft(None, (opened.width * most // longest, opened.height * most // longest))
            if opened.width * opened.height < LARGE:
                image = image_of(pixels_of(opened, Path(name)))
            else:
                with self._large:
                    image = image_of(pixels_of(opened, Path(name)))
        if max(image.size) > most:
            image.thumbnail((most, most))
        return image

    def _fits(self, width: int, height: int, name: str) -> None:
        if width * height > self._limits.pixels:
            raise BadData(
                f"{name} has {width:,} x {height:,} pixels: {self._limits.pixels / MB:g} million at most are taken."
            )


def kind_of(file: BinaryIO, name: str) -> str:
    """Which of `FORMATS` a file's content is, whatever its name says.

    Raises:
        BadData: none of them, or one made to take for ever.

    >>> kind_of(io.BytesIO(b"<svg xmlns='x'>"), "a.png")
    Traceback (most recent call last):
    isotrain.errors.BadData: a.png is text, HTML or SVG, no photo: JPEG, PNG, GIF, WebP and BMP are taken.
    """
    file.seek(0)
    head = file.read(HEAD)
    if head.startswith(b"\xff\xd8\xff"):
        file.seek(0)
        if scans_of(file.read()) > SCANS:
            raise BadData(f"{name} is a JPEG of more than {SCANS} scans, made to take for ever: save it anew.")
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM"):
        return "BMP"
    what = next((words for start, words in OTHERS if head.startswith(start)), "no picture")
    if head[4:8] == b"ftyp":
        what = "HEIC, AVIF or a film"
    elif head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        what = "text, HTML or SVG, no photo"
    elif not head:
        what = "empty"
    raise BadData(f"{name} is {what}: JPEG, PNG, GIF, WebP and BMP are taken.")


def scans_of(jpeg: bytes) -> int:
    r"""Scans of a JPEG up to the end of its first picture: what is behind it (a second one, a film) is not decoded.

    Source: ITU-T T.81, annex B: inside of a scan, 0xFF is followed by 0 or by a restart marker.

    >>> scans_of(b"\xff\xd8" + b"\xff\xda\0\2 pixels \xff\0 more" * 3 + b"\xff\xd9 \xff\xda\0\2")
    3
    """
    scans, at = 0, 2
    while (found := MARKER.search(jpeg, at)) and found[0][1] != END_OF_PICTURE:
        scans += found[0][1] == START_OF_SCAN
        length = int.from_bytes(jpeg[found.end() : found.end() + 2], "big")
        at = found.end() + max(2, length)
    return scans


def webp_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """Width and height as the head of a WebP says. The file is read from its beginning again.

    Raises:
        BadData: there is no such head.

    Source: RFC 9649, "WebP image format", section 2; RFC 6386, section 9.1.
    """
    file.seek(0)
    head = file.read(30)
    file.seek(0)
    kind, about = head[12:16], head[20:]
    if len(head) == 30 and kind == b"VP8X":
        return int.from_bytes(about[4:7], "little") + 1, int.from_bytes(about[7:10], "little") + 1
    if len(head) == 30 and kind == b"VP8 ":
        return int.from_bytes(about[6:8], "little") & 0x3FFF, int.from_bytes(about[8:10], "little") & 0x3FFF
    if len(head) >= 25 and kind == b"VP8L":
        bits = int.from_bytes(about[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise BadData(f"{name} is a damaged WebP: save it anew.")


def jpeg_of(image: Image.Image, quality: int) -> bytes:
    """A picture as a JPEG file without metadata."""
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=quality)
    return content.getvalue()
