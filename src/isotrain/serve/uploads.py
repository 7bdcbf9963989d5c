"""Files that come with a request: streamed to one file without a name, counted while they come.

The spool has no name in any folder, so that whatever happens to the connection or to the process, nothing is left of
it. Names that were sent are words for people; nothing here or behind makes a path of them.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from fastapi import HTTPException, Request

from isotrain.serve.limits import MB

FIELDS, FIELD_BYTES = 32, 10_000
"""Fields of words in one form, and how long each may be."""
LONGEST_NAME = 200


@dataclass(frozen=True)
class Upload:
    """One file of a form, as long as the form is open.

    Attributes:
        name: as it was sent.
        size: in bytes.
    """

    name: str
    size: int
    _spool: int
    _start: int

    def open(self) -> BinaryIO:
        """The content, to be read and sought in; several may read at once."""
        return cast(BinaryIO, io.BufferedReader(_Part(self._spool, self._start, self.size), 1 << 16))


@dataclass
class Form:
    """What came with a request.

    Attributes:
        files: those that may be looked at.
        refused: names of those that are too large, and why.
        words: the other fields.
    """

    files: list[Upload] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def received(request: Request, spool: Path, file_bytes: int, files: int) -> AsyncIterator[Form]:
    """The form of a request. Files are those of the field `files`.

    Args:
        request: multipart/form-data.
        spool: a folder with room for what comes.
        file_bytes: beyond which a file is refused; the others are taken all the same.
        files: beyond which the whole is refused.

    Raises:
        HTTPException: 4xx, no form, too many files or fields, or damaged; 507, the disk is full.
        OSError: the disk does not write.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise HTTPException(415, "files are sent as multipart/form-data, in the field `files`.")
    with tempfile.TemporaryFile(dir=spool) as file:
        reader = _Reader(file, file_bytes, files)
        try:
            parser = MultipartParser(boundary, cast(Any, reader.callbacks()))
            async for chunk in request.stream():
                parser.write(chunk)
            parser.finalize()
            file.flush()
        except FormParserError as error:
            raise HTTPException(400, "the form is damaged: send it again.") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise HTTPException(507, "the server's disk is full: tell who runs it.") from error
            raise
        if not reader.ended:
            raise HTTPException(400, "the form ends too early: send it again.")
        yield reader.form


class _Reader:
    """Takes what the parser finds in a form."""

    def __init__(self, file: Any, file_bytes: int, files: int) -> None:
        self._file, self._most, self._files = file, file_bytes, files
        self.form, self.ended = Form(), False
        self._header, self._value, self._disposition = b"", b"", b""
        self._key, self._words, self._size, self._start = "", bytearray(), 0, 0
        self._name: str | None = None

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin, "on_header_field": self._head, "on_header_value": self._head_value,
            "on_header_end": self._head_end, "on_headers_finished": self._headed, "on_part_data": self._data,
            "on_part_end": self._end, "on_end": self._ended,
        }  # fmt: skip

    def _begin(self) -> None:
        self._disposition = self._header = self._value = b""

    def _head(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _head_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _head_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headed(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._disposition)
        self._key = options.get(b"name", b"").decode("utf-8", "replace")
        name: bytes | None = options.get(b"filename")
        self._name = None if name is None else name.decode("utf-8", "replace")
        self._words, self._size, self._start = bytearray(), 0, self._file.tell()
        if self._name is not None:
            if self._key != "files":
                raise HTTPException(422, f"files come in the field `files`, not in {self._key[:40]!r}.")
            if len(self.form.files) + len(self.form.refused) >= self._files:
                raise HTTPException(413, f"more than {self._files:,} files are not taken at once: send fewer.")
        elif len(self.form.words) >= FIELDS:
            raise HTTPException(413, f"more than {FIELDS} fields.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            self._words += data[start:end]
            if len(self._words) > FIELD_BYTES:
                raise HTTPException(413, f"field {self._key[:40]!r} has more than {FIELD_BYTES:,} bytes.")
            return
        self._size += end - start
        if self._size <= self._most:
            self._file.write(data[start:end])

    def _end(self) -> None:
        if self._name is None:
            self.form.words[self._key] = self._words.decode("utf-8", "replace")
        elif self._size > self._most:
            self._file.seek(self._start)
            self._file.truncate()
            why = f"{self._size / MB:.1f} MB: {self._most / MB:g} MB at most are taken of a file."
            self.form.refused.append((self._name, why))
        else:
            self.form.files.append(Upload(self._name, self._size, self._file.fileno(), self._start))

    def _ended(self) -> None:
        self.ended = True


class _Part(io.RawIOBase):
    """Some bytes of a file, as a file; it has a place of its own to read at."""

    def __init__(self, number: int, start: int, size: int) -> None:
        self._number, self._begin, self._size, self._at = number, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if at < 0:
            raise ValueError(f"sought before the beginning: {at}")
        self._at = at
        return at

    def readinto(self, into: Any) -> int:
        content = os.pread(self._number, max(0, min(len(into), self._size - self._at)), self._begin + self._at)
        into[: len(content)] = content
        self._at += len(content)
        return len(content)


def shown_name(name: str) -> str:
    r"""A file's name for people to read: no folders, nothing that hides or turns what stands there.

    >>> shown_name("C:\\me\\../../etc/\u202egpj.exe\0"), shown_name("../")
    ('gpj.exe', 'photo')
    """
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    composed = unicodedata.normalize("NFC", last)  # macOS sends letters and their marks apart
    visible = "".join(letter for letter in composed if unicodedata.category(letter)[0] != "C").strip()
    return visible[:LONGEST_NAME] if visible.strip(".") else "photo"
