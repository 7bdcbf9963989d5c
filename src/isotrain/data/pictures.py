"""Picture files as they are looked at: uint8 tensors, grey or RGB, whatever the file's own idea of a pixel is."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from isotrain.errors import BadData

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".jfif", ".jp2")
)
"""Files that are taken for pictures, by their names' ends in small letters."""
LIMIT = 89_478_485
"""Pixels of the largest picture that is read: where Pillow begins to warn of decompression bombs (256 MB as RGB)."""
ROTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""The EXIF tag of the orientation, and its values that exchange height and width."""


def read_picture(source: Path | str | Tensor, reduce: bool = False) -> Tensor:
    """A picture as it is looked at: uint8 [C, H, W], C = 1 (grey) or 3 (RGB).

    EXIF's rotation is applied; palettes, CMYK and other colours become RGB; transparency is laid on white; 16 bits
    become 8 (65,535 is 255, whatever the largest value in the picture); of an animation the first frame is taken.

    Args:
        source: a file, or a tensor that is a picture already and is only checked.
        reduce: a JPEG beyond `LIMIT` is decoded at 1/2, 1/4 or 1/8 of its size instead of being refused. The boxes
            that go with such a picture no longer fit it.

    Raises:
        BadData: no picture, cut short, or larger than `LIMIT`; the message names the file.

    >>> read_picture(torch.zeros(1, 2, 3, dtype=torch.uint8)).shape
    torch.Size([1, 2, 3])
    """
    if isinstance(source, Tensor):
        if source.dtype is not torch.uint8 or source.dim() != 3 or source.shape[0] not in (1, 3) or not source.numel():
            kind = f"{source.dtype} {list(source.shape)}"
            raise BadData(f"a picture is uint8 [1 or 3, height, width], this one is {kind}.")
        return source
    path = Path(source)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise BadData(f"{path} cannot be read: it is no file.")
    with _opened(path, reduce) as picture:
        return pixels_of(picture, path)


def open_picture(file: BinaryIO, formats: Sequence[str], path: Path) -> Image:
    """A picture whose head is read by one of Pillow's decoders named; see `pixels_of`. `path` is for messages.

    Raises:
        BadData: it is none of these, or damaged.
    """
    try:
        opened: Image = _pillow().open(file, formats=list(formats))
    except Exception as error:  # as in pixels_of
        raise BadData(_unreadable(path, error)) from error
    return opened


def pixels_of(picture: Image, path: Path) -> Tensor:
    """The pixels uint8 [C, H, W] of an opened picture, as `read_picture` has them; `path` is for messages.

    Raises:
        BadData: it is cut short, or has values that no picture has.
    """
    try:
        from PIL import ImageOps

        turned = _orientation(picture) != 1
        picture.load()
        if turned:
            picture = ImageOps.exif_transpose(picture)
        pixels = _eight_bits(picture, path)
    except BadData:
        raise
    except Exception as error:  # broken files make Pillow raise a dozen kinds: OSError, SyntaxError, struct.error ...
        raise BadData(_unreadable(path, error)) from error
    pixels_hwc = pixels if pixels.ndim == 3 else pixels[:, :, None]
    return torch.from_numpy(np.ascontiguousarray(pixels_hwc.transpose(2, 0, 1)))


def picture_size(source: Path | str | Tensor) -> tuple[int, int]:
    """Height and width of a picture as it is looked at, read from the file's head.

    Raises:
        BadData: no picture, or larger than `LIMIT`.

    >>> picture_size(torch.zeros(1, 2, 3, dtype=torch.uint8))
    (2, 3)
    """
    if isinstance(source, Tensor):
        return int(source.shape[-2]), int(source.shape[-1])
    path = Path(source)
    with _opened(path, reduce=False) as picture:
        width, height = picture.size
        try:
            sideways = _orientation(picture) in SIDEWAYS
        except Exception as error:  # as in pixels_of
            raise BadData(_unreadable(path, error)) from error
    return (width, height) if sideways else (height, width)


def read_values(path: Path) -> np.ndarray[Any, Any]:
    """The numbers a file holds for its pixels, [H, W] or [H, W, 3]: a palette's places, not its colours (for masks).

    Raises:
        BadData: no picture, cut short, or larger than `LIMIT`.
    """
    with _opened(path, reduce=False) as picture:
        try:
            if picture.mode in ("LA", "PA", "La"):
                picture = picture.getchannel(0)
            elif picture.mode in ("RGBA", "RGBX", "RGBa"):
                picture = picture.convert("RGB")
            return np.array(picture)
        except Exception as error:  # as in pixels_of
            raise BadData(_unreadable(path, error)) from error


@functools.cache
def _pillow() -> Any:
    from PIL import Image

    # The size is looked at right after opening; Pillow's own warning would be a second line about the same thing.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    return Image


def _opened(path: Path, reduce: bool) -> Image:
    """The file with its head read, its pixels not yet."""
    pillow = _pillow()
    try:
        opened: Image = pillow.open(path)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        if reduce:
            return _reduced(path)
        raise _too_large(path) from error
    except FileNotFoundError as error:
        raise BadData(f"picture {path} does not exist.") from error
    except Exception as error:  # as in pixels_of
        raise BadData(_unreadable(path, error)) from error
    if opened.width * opened.height > LIMIT:
        opened.close()
        if reduce:
            return _reduced(path)
        raise _too_large(path)
    if not opened.width * opened.height:
        raise BadData(f"picture {path} has no pixels.")
    return opened


def _orientation(picture: Image) -> int:
    """EXIF's value, 1 for upright. Of a PNG only what stands before the pixels, or its size would cost a decoding."""
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1
    return int(picture.getexif().get(ROTATION, 1))


def _reduced(path: Path) -> Image:
    """A large JPEG, told to decode to as much as the limit lets through."""
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        picture = JpegImageFile(path)
    except Exception as error:  # SyntaxError for anything that is no JPEG
        raise _too_large(path) from error
    for scale in (2, 4, 8):
        if picture.width * picture.height <= LIMIT * scale**2:
            picture.draft(picture.mode, (picture.width // scale, picture.height // scale))
            return picture
    picture.close()
    raise _too_large(path)


def _eight_bits(picture: Image, path: Path) -> np.ndarray[Any, Any]:
    """Pixels [H, W] or [H, W, 3] of a loaded picture."""
    mode = picture.mode
    if mode in ("L", "RGB"):
        return np.array(picture)
    if mode.startswith("I"):  # 16 bits, or 32 that hold 16
        values: np.ndarray[Any, Any] = np.array(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BadData(f"picture {path} has values {values.min()} to {values.max()}: 0 to 65535 can be read.")
        values = (values * 255 + 32767) // 65535
        return values.astype(np.uint8)
    if mode == "F":
        numbers = np.array(picture)
        if not (np.isfinite(numbers).all() and numbers.min() >= 0 and numbers.max() <= 1):
            raise BadData(f"picture {path} holds floating-point numbers beyond 0 to 1: save it with 8 or 16 bits.")
        return np.asarray(np.rint(numbers * 255), dtype=np.uint8)
    if mode == "1":
        return np.array(picture.convert("L"))
    grey = mode in ("LA", "La")
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        white = _pillow().new("RGBA", clear.size, (255, 255, 255, 255))
        flat = _pillow().alpha_composite(white, clear)
        return np.array(flat.convert("L" if grey else "RGB"))
    return np.array(picture.convert("RGB"))


def _too_large(path: Path) -> BadData:
    return BadData(f"picture {path} has more than {LIMIT:,} pixels: save it smaller, or cut it into parts.")


def _unreadable(path: Path, error: Exception) -> str:
    lines = str(error).replace(str(path), path.name).strip().splitlines()
    return f"picture {path} cannot be read: {(lines[0] if lines else type(error).__name__).rstrip('.')}."


def alike(pictures: Sequence[Tensor], channels: int) -> list[Tensor]:
    """Pictures as they are if all have as many channels; else with `channels`, each picture that recurs made once."""
    if len({picture.shape[0] for picture in pictures}) <= 1:
        return list(pictures)
    made = {id(picture): picture for picture in pictures}
    made = {key: in_channels(picture, channels) for key, picture in made.items()}
    return [made[id(picture)] for picture in pictures]


def crops_in_channels(crops_nchw: Tensor, channels: int) -> Tensor:
    """Floating crops [n, 1 or 3, h, w] with as many channels as a net takes, as `in_channels` has it.

    What is cut out first and made grey then costs the crop alone: a photo of 12 megapixels takes a third of a second.

    >>> crops_in_channels(torch.tensor([0.1, 0.2, 0.6]).view(1, 3, 1, 1), 1).item()
    0.3...
    """
    if crops_nchw.shape[1] == channels:
        return crops_nchw
    return crops_nchw.mean(1, keepdim=True) if channels == 1 else crops_nchw.expand(-1, channels, -1, -1)


def in_channels(picture: Tensor, channels: int) -> Tensor:
    """A picture [1 or 3, H, W] with as many channels as a net takes: grey is repeated, colours are averaged.

    >>> in_channels(torch.tensor([[[1]], [[2]], [[6]]], dtype=torch.uint8), 1).item()
    3
    """
    if picture.shape[0] == channels:
        return picture
    return picture.expand(channels, -1, -1) if channels > 1 else picture.float().mean(0, keepdim=True).to(picture.dtype)
