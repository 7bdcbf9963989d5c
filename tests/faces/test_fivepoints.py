"""Five points of the 68: which they are, and that a face on the template fills the crop as it should."""

import pytest
import torch

from isotrain.errors import BadData, UnknownName
from isotrain.vision.fivepoints import ARCFACE, DLIB, TEMPLATES, template_named
from isotrain.vision.landmarks import MIRRORED, mirrored
from isotrain.vision.similarity import apply, cut, similarity


def test_arcface_takes_eye_centres_nose_tip_and_mouth_corners():
    points = torch.zeros(68, 2)
    points[36:42] = torch.tensor([[1.0, 5], [2, 4], [3, 4], [4, 5], [3, 6], [2, 6]])
    points[42:48] = points[36:42] + 10
    points[30], points[48], points[54] = torch.tensor([[7.0, 9], [3, 12], [11, 12]])
    assert ARCFACE.of(points).tolist() == [[2.5, 5], [12.5, 15], [7, 9], [3, 12], [11, 12]]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_template_is_upright_and_nearly_symmetric(template):
    """A mirrored face has the points that are each other's mirror images exchanged: a slip in the mapping shows."""
    size = template.size
    points = torch.full((68, 2), float("nan"))
    for few, place in zip(template.landmarks, template.at(size), strict=True):
        points[list(few)] = place
    other = mirrored(points, size)
    known = [n for few in template.landmarks for n in few]
    assert all(MIRRORED[n] in known for n in known)
    assert (other[known] - points[known]).abs().max() < 3.5  # the templates are means of faces, not quite symmetric
    eyes, below = template.at(size)[:2], template.at(size)[-1]
    assert below[1] > eyes[:, 1].max()
    assert 0 < template.at(size).min() and template.at(size).max() < size


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_turned_face_comes_upright(template):
    turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
    points = torch.zeros(1, 68, 2)
    for few, place in zip(template.landmarks, template.at(64), strict=True):
        points[0, list(few)] = turn @ place + torch.tensor([200.0, 10.0])
    matrices = similarity(template.of(points), template.at(64))
    assert torch.allclose(apply(matrices, template.of(points))[0], template.at(64), atol=1e-4)
    picture = torch.zeros(1, 160, 220)
    x, y = (turn @ template.at(64)[2] + torch.tensor([200.0, 10.0])).long().tolist()
    picture[0, y - 2 : y + 3, x - 2 : x + 3] = 1
    crop = cut(picture, matrices, 64)[0, 0]
    brightest = crop.flatten().argmax()
    place = torch.stack([brightest % 64, brightest // 64]) + 0.5
    assert (place - template.at(64)[2]).abs().max() <= 1.5


def on_template(template, size, scale=1.0):
    points = torch.zeros(1, 68, 2)
    for few, place in zip(template.landmarks, template.at(size), strict=True):
        points[0, list(few)] = scale * place
    return points


@pytest.mark.parametrize("scale", [1.0, 1.5, 1.9])
def test_crops_are_interpolated_without_smoothing(scale):
    """What OpenCV's warpAffine gives: the value between the four pixels around a place, however far the next one is."""
    side = round(112 * scale)
    picture = torch.rand(1, side, side)
    crop = ARCFACE.crops(picture, on_template(ARCFACE, 112, scale), 112)[0, 0]
    for row, column in ((3, 5), (60, 31), (100, 100)):
        x, y = (scale * (v + 0.5) - 0.5 for v in (column, row))
        left, top = int(x), int(y)
        some = picture[0, top : top + 2, left : left + 2]
        across = torch.tensor([left + 1 - x, x - left])
        down = torch.tensor([top + 1 - y, y - top])
        assert float(crop[row, column]) == pytest.approx(float(down @ some @ across), abs=2e-3)


def test_large_faces_do_not_alias():
    """Lines of one pixel, black and white, are grey in a crop eight times smaller."""
    picture = (torch.arange(896) % 2).float().expand(1, 896, 896)
    crop = ARCFACE.crops(picture, on_template(ARCFACE, 112, 8.0), 112)
    assert (crop - 0.5).abs().max() < 0.05


def test_crops_of_many():
    points = torch.cat([on_template(ARCFACE, 56), on_template(ARCFACE, 56) + 20])
    grey, colour = torch.rand(1, 90, 90), (255 * torch.rand(3, 90, 90)).byte()
    both = ARCFACE.crops([grey, grey], points, 56)
    assert torch.allclose(both[1], grey[:, 20:76, 20:76], atol=1e-3)
    assert torch.equal(both, ARCFACE.crops(grey, points, 56))
    assert ARCFACE.crops(colour, points, 56).shape == (2, 3, 56, 56)
    assert ARCFACE.crops(grey, points[:0], 56).shape == (0, 1, 56, 56)
    with pytest.raises(BadData, match="1 pictures for 2 faces"):
        ARCFACE.crops([grey], points, 56)
    with pytest.raises(BadData, match="one place"):
        ARCFACE.crops(grey, torch.ones(1, 68, 2), 56)


def test_dlib_counts_from_the_edge_of_the_crop():
    # Measured with dlib 20.0.1: get_face_chip of a face at exactly these places gives the picture itself.
    assert DLIB.at(150)[2].tolist() == pytest.approx([37.0575, 46.3727], abs=1e-3)


def test_what_is_refused():
    with pytest.raises(BadData, match="68"):
        ARCFACE.of(torch.zeros(5, 2))
    with pytest.raises(BadData, match="not finite"):
        ARCFACE.of(torch.full((68, 2), float("inf")))
    with pytest.raises(UnknownName, match=r"'3d'.*five"):
        template_named("3d")
