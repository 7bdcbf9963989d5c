"""Every kind of picture file, as it is looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from isotrain.data.pictures import LIMIT, picture_size, read_picture, read_values
from isotrain.errors import BadData

RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


def test_colour_and_grey(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    Image.fromarray(RGB[:, :, 0]).save(tmp_path / "grey.png")
    assert torch.equal(read_picture(tmp_path / "rgb.png"), torch.from_numpy(RGB).permute(2, 0, 1))
    grey = read_picture(str(tmp_path / "grey.png"))
    assert grey.shape == (1, 4, 6) and grey.is_contiguous() and torch.equal(grey[0], torch.from_numpy(RGB[:, :, 0]))
    assert picture_size(tmp_path / "rgb.png") == (4, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path, orientation):
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :16] = 250  # light in the upper left corner
    # How the camera stored what is to be looked at like this.
    turn = {
        1: lambda x: x,
        2: np.fliplr,
        3: lambda x: np.rot90(x, 2),
        4: np.flipud,
        5: lambda x: x.transpose(1, 0, 2),
        6: np.rot90,
        7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
        8: lambda x: np.rot90(x, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turn(upright))).save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.shape == (3, 16, 32) and picture_size(tmp_path / "a.jpg") == (16, 32)
    assert picture[:, :7, :15].float().mean() > 230 and picture[:, 9:].float().mean() < 20


def test_cmyk(tmp_path):
    Image.new("CMYK", (3, 2), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.shape == (3, 2, 3) and picture[0].min() > 200 and picture[1:].max() < 60


def test_palette_and_transparency(tmp_path):
    Image.fromarray(RGB).convert("P").save(tmp_path / "palette.png")
    assert read_picture(tmp_path / "palette.png").shape == (3, 4, 6)
    clear = np.concatenate((RGB, np.full((4, 6, 1), 255, dtype=np.uint8)), axis=2)
    clear[0, 0, 3] = 0
    Image.fromarray(clear).save(tmp_path / "clear.png")
    picture = read_picture(tmp_path / "clear.png")
    assert picture[:, 0, 0].tolist() == [255, 255, 255] and picture[:, 3, 5].tolist() == RGB[3, 5].tolist()
    Image.new("LA", (3, 2), (7, 255)).save(tmp_path / "grey.png")
    assert read_picture(tmp_path / "grey.png").tolist() == [[[7, 7, 7]] * 2]
    assert read_values(tmp_path / "grey.png").tolist() == [[7, 7, 7]] * 2


def test_sixteen_bits_one_bit_and_fractions(tmp_path):
    deep = np.array([[0, 257, 65535], [128, 129, 32768]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_picture(tmp_path / "deep.png").tolist() == [[[0, 1, 255], [0, 1, 128]]]
    Image.fromarray(deep.astype(np.int32)).save(tmp_path / "deep.tiff")
    assert read_picture(tmp_path / "deep.tiff").tolist() == [[[0, 1, 255], [0, 1, 128]]]
    Image.fromarray(deep.astype(np.int32) * 2).save(tmp_path / "deeper.tiff")
    with pytest.raises(BadData, match=r"deeper\.tiff has values 0 to 131070"):
        read_picture(tmp_path / "deeper.tiff")
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bit.png")
    assert read_picture(tmp_path / "bit.png").tolist() == [[[255, 0]]]
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "f.tiff")
    assert read_picture(tmp_path / "f.tiff").tolist() == [[[0, 128, 255]]]
    Image.fromarray(np.array([[0.0, 1.5]], dtype=np.float32)).save(tmp_path / "g.tiff")
    with pytest.raises(BadData, match=r"g\.tiff holds floating-point"):
        read_picture(tmp_path / "g.tiff")


def test_lab(tmp_path):
    Image.new("LAB", (2, 2), (128, 128, 128)).save(tmp_path / "lab.tiff")
    assert read_picture(tmp_path / "lab.tiff").shape == (3, 2, 2)
    assert ImageCms  # Pillow converts Lab with it


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue", "green")]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        picture = read_picture(tmp_path / name)
        assert picture.shape == (3, 4, 5) and picture[0].min() > 240 and picture[1:].max() < 10


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").flatten().tolist() == [1, 2, 3]


def test_tensors():
    picture = torch.zeros(3, 2, 2, dtype=torch.uint8)
    assert read_picture(picture) is picture
    for wrong in (picture.float(), picture[0], torch.zeros(4, 2, 2, dtype=torch.uint8), picture[:, :0]):
        with pytest.raises(BadData, match="a picture is uint8"):
            read_picture(wrong)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tiff"])
def test_truncated(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadData, match=rf"cut\.{suffix} cannot be read"):
        read_picture(path)


def test_no_picture(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    (tmp_path / "b.jpg").write_bytes(b"")
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(BadData, match=rf"picture .*{name} cannot be read"):
            read_picture(tmp_path / name)
        with pytest.raises(BadData, match=name):
            picture_size(tmp_path / name)
    with pytest.raises(BadData, match=r"c\.jpg does not exist"):
        read_picture(tmp_path / "c.jpg")
    (tmp_path / "d.jpg").mkdir()
    with pytest.raises(BadData, match=r"d\.jpg cannot be read"):
        read_picture(tmp_path / "d.jpg")


def test_20000_by_20000_pixels_are_refused(tmp_path):
    Image.new("1", (20000, 20000)).save(tmp_path / "huge.png")
    Image.new("1", (9500, 9500)).save(tmp_path / "large.png")  # only a warning of Pillow's
    for name in ("huge", "large"):
        for read in (read_picture, picture_size, lambda path: read_picture(path, reduce=True)):
            with pytest.raises(BadData, match=rf"{name}\.png has more than 89,478,485 pixels: save it smaller"):
                read(tmp_path / f"{name}.png")


def test_a_huge_jpeg_is_decoded_reduced_if_asked(tmp_path):
    path = tmp_path / "huge.jpg"
    Image.new("L", (20000, 10000), 200).save(path)
    with pytest.raises(BadData, match=f"more than {LIMIT:,} pixels"):
        read_picture(path)
    picture = read_picture(path, reduce=True)
    assert picture.shape == (1, 5000, 10000) and picture.float().mean() == 200
