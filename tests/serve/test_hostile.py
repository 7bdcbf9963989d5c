"""Hostile uploads: refused with a clear line, or kept as pixels alone; no crash, no file outside of the data folder."""

from __future__ import annotations

import io
import random
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from serving import file_of, noise, send, served

from isotrain.errors import BadData
from isotrain.serve.limits import Limits
from isotrain.serve.uploads import shown_name
from isotrain.serve.uploads_pictures import SCANS, Decoder, scans_of

KINDS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
SCRIPT = b"*/=1;alert('xss')//<script>alert(1)</script>"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(side: int = 30_000) -> bytes:
    """A picture of 900 million pixels in a megabyte."""
    squeezer = zlib.compressobj(9)
    row = bytes(side + 1)
    pixels = b"".join(squeezer.compress(row) for _ in range(200)) + squeezer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small picture whose comment grows to 100 MB."""
    plain = file_of(noise(4, 4))
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    return plain[:33] + comment + plain[33:]


def many_scans() -> bytes:
    """A JPEG that goes through all its pixels again and again."""
    plain = file_of(noise(64, 64), "JPEG", progressive=True)
    at = plain.rindex(b"\xff\xda")
    return plain[:at] + plain[at:-2] * (SCANS + 1) + b"\xff\xd9"


def zip_bomb() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        made.writestr("../../evil.png", bytes(50_000_000))
    return content.getvalue()


def exif_script() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = SCRIPT.decode()
    return exif


def huge_webp() -> bytes:
    plain = bytearray(file_of(noise(8, 8), "WEBP", exif=b"Exif\0\0" + b"x" * 9))
    assert plain[12:16] == b"VP8X"
    plain[24:30] = b"\xfe\x3f\0\xfe\x3f\0"
    return bytes(plain)


def huge_gif() -> bytes:
    plain = bytearray(file_of(noise(8, 8), "GIF"))
    plain[6:10] = b"\xff\xff\xff\xff"
    return bytes(plain)


REFUSED = {
    "png bomb": png_bomb, "text bomb": text_bomb, "many scans": many_scans, "zip bomb": zip_bomb, "webp": huge_webp,
    "gif": huge_gif,
    "svg": lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "svg with a mark": lambda: b"\xef\xbb\xbf \n<svg onload='alert(1)'/>",
    "html": lambda: b"<!DOCTYPE html><script>alert(1)</script>",
    "pdf": lambda: b"%PDF-1.7\n%\xe2\xe3 /JS (app.alert(1))",
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file",
    "tiff": lambda: file_of(noise(4, 4), "TIFF"),
    "heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "program": lambda: b"\x7fELF" + bytes(100),
    "empty": lambda: b"",
    "head alone": lambda: b"\x89PNG\r\n\x1a\n",
    "cut short": lambda: file_of(noise(64, 64), "PNG")[:2000],
    "text": lambda: b"hello",
}  # fmt: skip
POLYGLOTS = {
    "gif and script": lambda: file_of(noise(8, 8), "GIF", comment=SCRIPT) + SCRIPT,
    "jpeg and zip": lambda: file_of(noise(8, 8), "JPEG", comment=SCRIPT) + zip_bomb(),
    "png and html": lambda: file_of(noise(8, 8)) + SCRIPT,
    "bmp and script": lambda: file_of(noise(8, 8), "BMP") + SCRIPT,
    "webp and script": lambda: file_of(noise(8, 8), "WEBP", exif=exif_script()) + SCRIPT,
}


def test_what_is_no_photo_is_refused_by_its_content(tmp_path: Path) -> None:
    """Whatever the name says; one line each, without a place of this machine."""
    with served(tmp_path / "data") as client:
        names = tuple(f"{name}.jpg" for name in REFUSED)
        answer = send(client, *(make() for make in REFUSED.values()), names=names)
        assert answer.status_code == 400
        for name, make in REFUSED.items():
            answer = send(client, make(), file_of(noise()), names=(f"{name}.jpg", "good.png"))
            assert answer.status_code == 200 and len(answer.json()["photos"]) == 1
            (refused,) = answer.json()["refused"]
            assert refused["name"] == f"{name}.jpg" and name in refused["error"], refused
            assert str(tmp_path) not in answer.text and "\n" not in refused["error"]
        assert len(list((tmp_path / "data" / "users" / "me" / "photos").iterdir())) == 2 * len(REFUSED)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_of_polyglots_the_pixels_alone_are_served(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        for name, make in POLYGLOTS.items():
            content = make()
            assert b"alert" in content
            photo = send(client, content, names=(f"{name}.html",)).json()["photos"][0]
            for way in ("picture", "thumbnail", "drawn"):
                answer = client.get(f"/api/photos/{photo['id']}/{way}")
                assert answer.headers["content-type"] in ("image/jpeg", "image/png")
                assert b"alert" not in answer.content and b"PK\x03\x04" not in answer.content
        for path in (tmp_path / "users").rglob("*.jpg"):
            assert b"alert" not in path.read_bytes()


@pytest.mark.parametrize(
    "name",
    ["../../x.png", "..\\..\\x.png", "/etc/passwd", "a\0b.png", "x" * 4000 + ".png", "\u202egnp.exe", "", "..",
     "<b>.png", "';DROP TABLE photos;--", "con", "\r\nSet-Cookie: a=b", "é\ud83d.png"],
)  # fmt: skip
def test_names_are_words_and_no_paths(tmp_path: Path, name: str) -> None:
    """The form is written by hand: clients refuse to send some of these."""
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode("utf-8", "surrogatepass") + file_of(noise()) + b"\r\n--b--\r\n"
    with served(tmp_path / "data") as client:
        kind = {"Content-Type": FORM}
        answer = client.post("/api/photos", content=body, headers=kind)
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 200:
            said = answer.json()["photos"][0]["name"]
            assert "/" not in said and "\\" not in said and "\0" not in said and "\u202e" not in said
            assert 0 < len(said) <= 200
            assert client.get("/api/photos").status_code == 200
        files = [path.name for path in (tmp_path / "data" / "users" / "me" / "photos").iterdir()]
        assert all(set(one.partition(".")[0]) <= set("0123456789abcdef") for one in files)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


FORM = "multipart/form-data; boundary=b"
PART = b"--b\r\nContent-Disposition: form-data; name="


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", FORM, 400),
        (b"--b\r\n", FORM, 400),
        (PART + b"files; filename=a\r\n\r\ncut", FORM, 400),
        (b"--b--\r\n", FORM, 400),
        (b"nonsense", FORM, 400),
        (b"{}", "application/json", 415),
        (b"x", "multipart/form-data", 415),
        (b"--b\r\n" + b"A: b\r\n" * 50 + b"\r\n", FORM, 400),
        (PART + b"other; filename=a\r\n\r\nx\r\n--b--", FORM, 422),
        (b"".join(PART + b"f%d\r\n\r\nx\r\n" % n for n in range(99)), FORM, 413),
        (PART + b"f\r\n\r\n" + b"x" * 20_000, FORM, 413),
        (b"".join(PART + b"files; filename=f\r\n\r\nx\r\n" for n in range(99)), FORM, 413),
        (b"x" * 300_000, FORM, 400),
    ],
)  # fmt: skip
def test_forms_that_are_none(tmp_path: Path, body: bytes, kind: str, status: int) -> None:
    with served(tmp_path) as client:
        answer = client.post("/api/photos", content=body, headers={"Content-Type": kind})
        assert answer.status_code == status and answer.json()["error"], answer.text
        assert not list((tmp_path / "spool").iterdir())


def test_bodies_that_are_too_large(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(upload_bytes=50_000)) as client:
        assert send(client, bytes(60_000)).status_code == 413
        assert client.post("/api/people", content=b" " * 300_000).status_code == 413


def fuzzed(number: int) -> bytes:
    """A valid picture with some of its bytes changed, repeated, cut out, or its head kept and the rest noise."""
    draw = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    options: dict[str, Any] = {"progressive": True} if kind == "JPEG" and number % 2 else {}
    if kind in ("GIF", "WEBP", "PNG") and number % 3 == 0:
        options = {"save_all": True, "append_images": [Image.fromarray(noise(24, 24, seed=1))]}
    content = bytearray(file_of(noise(24, 24), kind, **options))
    for _ in range(draw.choice((1, 2, 8, 64))):
        at = draw.randrange(len(content)) if draw.random() < 0.5 else draw.randrange(min(64, len(content)))
        way = draw.randrange(5)
        if way == 0:
            content[at] = draw.randrange(256)
        elif way == 1:
            content[at : at + 4] = draw.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
        elif way == 2:
            del content[at : at + draw.randrange(1, 40)]
        elif way == 3:
            content[at:at] = content[at : at + draw.randrange(1, 200)]
        else:
            content = content[: max(at, 16)]
        if len(content) < 20:
            break
    return bytes(content)


def test_a_thousand_fuzzed_pictures(recwarn: pytest.WarningsRecorder) -> None:
    """Each is refused in words, or becomes a clean JPEG."""
    decoder, taken = Decoder(Limits(pixels=1_000_000)), 0
    for number in range(1000):
        try:
            encoded = decoder.encode(io.BytesIO(fuzzed(number)), "a.png")
        except BadData:
            continue
        taken += 1
        assert encoded.picture.startswith(b"\xff\xd8\xff") and encoded.thumbnail.startswith(b"\xff\xd8\xff")
    assert 100 < taken < 900


def test_fuzzed_pictures_by_the_lot(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(pixels=1_000_000)) as client:
        for start in range(0, 150, 50):
            answer = send(client, *(fuzzed(number) for number in range(start, start + 50)))
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["photos"]) + len(answer.json()["refused"]) == 50
        assert not list((tmp_path / "spool").iterdir())


def test_scans_of_ordinary_pictures() -> None:
    """A film behind the picture, as telephones write it, does not count."""
    plain = file_of(noise(64, 64), "JPEG")
    assert scans_of(plain) == 1 and 2 < scans_of(file_of(noise(64, 64), "JPEG", progressive=True)) < 20
    assert scans_of(plain + b"\xff\xda\0\2" * 1000) == 1
    assert scans_of(b"\xff\xd8\xff\xff\xff") <= 1


def test_transparency_grey_and_animation(tmp_path: Path) -> None:
    """What is clear is white, grey stays grey to the eye, of an animation the first frame is kept."""
    clear = np.zeros((8, 8, 4), np.uint8)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    moving = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with served(tmp_path) as client:
        ids = [
            p["id"]
            for p in send(client, file_of(clear), file_of(np.full((8, 8), 9, np.uint8)), moving).json()["photos"]
        ]
        seen = [np.array(Image.open(io.BytesIO(client.get(f"/api/photos/{id}/picture").content))) for id in ids]
        assert seen[0].min() > 250 and abs(seen[1].astype(int) - 9).max() < 4
        assert seen[2][0, 0, 0] > 200 and seen[2][0, 0, 2] < 50


def test_shown_names() -> None:
    assert shown_name("a/../b.png") == "b.png" and shown_name("\u202e\0") == "photo"
