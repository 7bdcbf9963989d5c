"""What is drawn lies where it should, in the colour of its class, and the picture handed in is left alone."""

import pytest
import torch
from PIL import Image

from isotrain.errors import BadData
from isotrain.vision.drawing import (
    colour_of,
    draw_boxes,
    draw_heat,
    draw_masks,
    draw_points,
    enlarged,
    image_of,
    sheet,
)

GREY = (90, 90, 90)


@pytest.fixture
def plain():
    return Image.new("RGB", (120, 100), GREY)


def test_colours_of_classes_are_apart():
    colours = torch.tensor([colour_of(label) for label in range(12)]).float()
    apart = torch.cdist(colours, colours).fill_diagonal_(999)
    assert apart.min() > 40
    assert colour_of(7) == colour_of(7)


def test_a_box_is_drawn_on_its_edges(plain):
    drawn = draw_boxes(plain, torch.tensor([[20.0, 40.0, 60.0, 80.0]]), [2])
    for x, y in ((20, 40), (59, 79), (20, 79), (40, 40), (59, 60)):
        assert drawn.getpixel((x, y)) == colour_of(2)
    for x, y in ((19, 40), (60, 60), (40, 80), (40, 60)):
        assert drawn.getpixel((x, y)) == GREY
    assert plain.getpixel((20, 40)) == GREY


def test_the_surest_lies_on_top(plain):
    box = [[20.0, 40.0, 60.0, 80.0]] * 2
    assert draw_boxes(plain, box, [1, 2], scores=[0.9, 0.3]).getpixel((20, 79)) == colour_of(1)
    assert draw_boxes(plain, box, [1, 2], scores=[0.3, 0.9]).getpixel((20, 79)) == colour_of(2)


@pytest.mark.parametrize("box", [(0, 0, 120, 100), (110, 90, 120, 100), (-30, -30, 5, 5), (50, 0, 51, 1)])
def test_names_never_leave_the_picture(plain, box):
    drawn = draw_boxes(plain, [box], [0], ["elephant"], [0.5])
    assert drawn.size == plain.size
    tag = sum(drawn.getpixel((x, y)) == colour_of(0) for x in range(120) for y in range(100))
    assert tag > 200


def test_a_scale_is_for_enlarged_pictures(plain):
    large = enlarged(plain, 300)
    assert large.size == (360, 300)
    assert draw_boxes(large, [(10, 20, 30, 40)], [0], scale=3).getpixel((30, 60)) == colour_of(0)
    assert enlarged(large, 300).size == large.size


def test_masks_are_coats_with_a_rim(plain):
    mask = torch.zeros(1, 100, 120, dtype=torch.bool)
    mask[0, 30:70, 30:70] = True
    drawn = draw_masks(plain, mask, [4], strength=0.5)
    assert drawn.getpixel((10, 10)) == GREY
    assert drawn.getpixel((30, 30)) == colour_of(4)
    half = [(ground + colour) / 2 for ground, colour in zip(GREY, colour_of(4), strict=True)]
    assert drawn.getpixel((50, 50)) == pytest.approx(half, abs=1.5)


def test_small_masks_are_enlarged_and_none_is_fine(plain):
    mask = torch.zeros(1, 10, 12, dtype=torch.bool)
    mask[0, 3:7, 3:7] = True
    drawn = draw_masks(plain, mask, [4])
    assert drawn.getpixel((30, 30)) == colour_of(4) and drawn.getpixel((28, 30)) == GREY
    assert draw_masks(plain, torch.zeros(0, 10, 12, dtype=torch.bool), []).tobytes() == plain.tobytes()


def test_heat_shows_where_it_is_hot(plain):
    heat = torch.zeros(10, 12)
    heat[2, 9] = 1
    drawn = draw_heat(plain, heat)
    assert drawn.getpixel((10, 90)) == GREY
    red, _, blue = drawn.getpixel((95, 25))
    assert red > 140 and red > blue


def test_points_are_discs(plain):
    drawn = draw_points(plain, torch.tensor([[60.0, 50.0]]), [3], ["cat", "dog", "cow", "emu"])
    assert drawn.getpixel((60, 50)) == colour_of(3)
    assert drawn.getpixel((20, 20)) == GREY


def test_a_sheet_holds_every_picture():
    images = [Image.new("RGB", size, colour_of(place)) for place, size in enumerate([(40, 20), (500, 300), (10, 90)])]
    page = sheet(images, columns=2, titles=["a", "a title that is far too long for its cell", ""], cell=100)
    assert page.width == 2 * (100 + 4) + 4
    assert page.height > 2 * 100
    for place, (x, y) in enumerate([(56, 54), (160, 54), (56, 54 + (page.height - 4) // 2)]):
        assert page.getpixel((x, y)) == pytest.approx(colour_of(place), abs=2)
    with pytest.raises(BadData):
        sheet([])


def test_pictures_become_images():
    picture = torch.randint(256, (3, 5, 7), dtype=torch.uint8)
    assert image_of(picture).getpixel((6, 4)) == tuple(picture[:, 4, 6].tolist())
    assert image_of(picture[:1]).getpixel((6, 4)) == (int(picture[0, 4, 6]),) * 3
    with pytest.raises(BadData, match="float32"):
        image_of(picture.float())
