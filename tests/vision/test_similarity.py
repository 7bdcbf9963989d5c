"""A turned template is turned back, a crop holds what its transform says, and a face made small does not alias."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotrain.errors import BadData
from isotrain.vision.similarity import affine, apply, cut, inverse, sample, similarity, square

seeds = st.integers(0, 2**31)


def cloud(seed, *shape):
    return torch.randn(*shape, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turn(angle, scale, shift):
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[c, -s, shift[0]], [s, c, shift[1]]], dtype=torch.float64)


@given(seed=seeds, angle=st.floats(-3, 3), scale=st.floats(0.1, 9), weighted=st.booleans())
def test_the_similarity_of_a_moved_template_moves_it_back(seed, angle, scale, weighted):
    template, matrix = cloud(seed, 7), turn(angle, scale, (3.0, -5.0))
    weights = cloud(seed + 1, 7)[:, 0].abs() if weighted else None
    assert torch.allclose(similarity(template, apply(matrix, template), weights), matrix, atol=1e-9)
    assert torch.allclose(similarity(apply(matrix, template), template, weights), inverse(matrix), atol=1e-9)
    assert torch.allclose(affine(template, apply(matrix, template), weights), matrix, atol=1e-9)


@given(seed=seeds)
def test_it_is_the_best_one(seed):
    points, template = cloud(seed, 3, 6), cloud(seed + 1, 6)
    weights = cloud(seed + 2, 3, 6)[..., 0].abs()

    def loss(matrices):
        return (weights[..., None] * (apply(matrices, points) - template).square()).sum()

    for fit, directions in ((similarity, 4), (affine, 6)):
        best = fit(points, template, weights)
        assert best.shape == (3, 2, 3)
        if directions == 4:
            assert torch.allclose(best[:, 0, 0], best[:, 1, 1]) and torch.allclose(best[:, 0, 1], -best[:, 1, 0])
        matrices = best.clone().requires_grad_()
        loss(matrices).backward()
        slope = matrices.grad
        if directions == 4:  # only along similarities
            slope = torch.stack(
                [slope[:, 0, 0] + slope[:, 1, 1], slope[:, 1, 0] - slope[:, 0, 1], slope[:, 0, 2], slope[:, 1, 2]]
            )
        assert slope.abs().max() < 1e-9


def test_a_point_without_weight_does_not_count():
    template = cloud(1, 6)
    moved = apply(turn(0.3, 2, (1, 1)), template)
    moved[5] += 100
    weights = torch.tensor([1.0, 1, 1, 1, 1, 0])
    assert torch.allclose(similarity(template, moved, weights), turn(0.3, 2, (1, 1)))


def test_a_mirrored_template_is_not_reached_by_a_reflection():
    template = cloud(2, 6)
    matrix = similarity(template, template * torch.tensor([-1.0, 1.0]))
    assert matrix[:, :2].det() >= 0


@pytest.mark.parametrize("fit", [similarity, affine])
def test_transforms_are_differentiable(fit):
    template = cloud(3, 5)
    assert torch.autograd.gradcheck(lambda points: fit(points, template), cloud(4, 2, 5).requires_grad_())


@pytest.mark.parametrize(
    "fit, points", [(similarity, torch.ones(5, 2)), (affine, torch.arange(5.0)[:, None].expand(5, 2))]
)
def test_points_that_do_not_span_are_refused(fit, points):
    with pytest.raises(BadData):
        fit(points, torch.rand(5, 2))


def test_a_flat_transform_is_refused():
    with pytest.raises(BadData, match="line"):
        cut(torch.zeros(1, 4, 4), torch.zeros(1, 2, 3), 4)
    with pytest.raises(BadData, match="no width"):
        square(torch.tensor([[1.0, 2.0, 1.0, 2.0]]), 4)


def test_the_identity_cuts_the_picture_itself():
    picture = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    crop = cut(picture, torch.eye(2, 3)[None], 16)[0]
    assert torch.allclose(crop, picture.float() / 255, atol=1e-5)


def test_a_quarter_turn_is_exact():
    picture = torch.rand(2, 9, 9)
    matrix = torch.tensor([[[0.0, -1.0, 9.0], [1.0, 0.0, 0.0]]])
    assert torch.allclose(cut(picture, matrix, 9)[0], picture.rot90(-1, (1, 2)), atol=1e-5)


@pytest.mark.parametrize("scale", [0.06, 0.14, 0.37, 0.8, 1.0, 3.0])
def test_a_slope_keeps_its_values_at_every_scale(scale):
    """A linear picture stays one whatever the filter: its value is the place, to a twentieth of a step."""
    across = torch.arange(400, dtype=torch.float64) + 0.5
    picture = (across / 400).expand(1, 400, 400)
    matrix = torch.tensor([[[scale, 0, -100.0 * scale], [0, scale, -100.0 * scale]]], dtype=torch.float64)
    size = int(200 * scale)
    crop = cut(picture, matrix, size)[0, 0]
    expected = (100 + (torch.arange(size, dtype=torch.float64) + 0.5) / scale) / 400
    # Filters of few pixels, and regions shrunk to whole ones, move a place by a fraction of a step.
    assert (crop - expected).abs().max() < 0.05 / scale / 400


@pytest.mark.parametrize("step", [2.0, 2.5, 3.3, 7.1])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_a_checkerboard_made_small_is_grey(step, angle):
    row, column = torch.meshgrid(torch.arange(800), torch.arange(800), indexing="ij")
    board = (255 * ((row + column) % 2)).to(torch.uint8)[None]
    middle = torch.tensor([400.0, 400.0], dtype=torch.float64)
    matrix = turn(angle, 1 / step, (0, 0))
    matrix[:, 2] = 40 - matrix[:, :2] @ middle
    crop = cut(board, matrix[None], 80)
    assert (crop - 0.5).abs().max() < 0.05


def test_the_edge_is_repeated_beyond_the_border():
    picture = torch.full((1, 20, 20), 200, dtype=torch.uint8)
    boxes = torch.tensor([[-30.0, -10.0, 10.0, 30.0], [100.0, 100.0, 140.0, 140.0]])
    assert torch.allclose(cut(picture, square(boxes, 24, 1.5), 24), torch.tensor(200 / 255))


def test_a_square_holds_its_box_in_the_middle():
    boxes = torch.tensor([[10.0, 20.0, 50.0, 40.0], [0.0, 0.0, 8.0, 8.0]])
    corners = apply(square(boxes, 100, 2.0), boxes.view(2, 2, 2))
    assert torch.allclose(corners[0], torch.tensor([[25.0, 37.5], [75.0, 62.5]]))
    assert torch.allclose(corners[1], torch.tensor([[25.0, 25.0], [75.0, 75.0]]))


def test_one_picture_for_all_or_one_for_each():
    pictures = torch.rand(3, 2, 12, 12)
    matrices = torch.eye(2, 3).repeat(3, 1, 1)
    assert torch.allclose(cut(pictures, matrices, 12), pictures, atol=1e-5)
    assert torch.allclose(cut(list(pictures), matrices, 12), pictures, atol=1e-5)
    assert torch.allclose(cut(pictures[0], matrices, 12)[2], pictures[0], atol=1e-5)
    assert cut(pictures[0], matrices[:0], 12).shape == (0, 2, 12, 12)
    with pytest.raises(BadData, match="2 pictures for 3 faces"):
        cut(pictures[:2], matrices, 12)


def test_samples_are_differentiable():
    draw = torch.Generator().manual_seed(5)
    picture = torch.rand(2, 7, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    places = (1 + 5 * torch.rand(2, 3, 3, 2, generator=draw, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: sample(a, b, torch.ones(2)), (picture, places))
    shrunk = torch.full((2,), 1.5)
    assert torch.autograd.gradcheck(lambda a: sample(a, places.detach(), shrunk), picture)
