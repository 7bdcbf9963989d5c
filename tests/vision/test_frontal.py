"""The model's own frontal view is shown unchanged, a turned one is turned back, hidden halves come from the mirror."""

import pytest
import torch

from isotrain.errors import BadData, BadOption
from isotrain.vision.camera import turn
from isotrain.vision.facemodel import FaceModel, to_crop
from isotrain.vision.frontal import covered, facing_of, filled, frontal, maps_of, replaced, spread_of, visible
from isotrain.vision.landmarks import MIRRORED, mirrored


@pytest.fixture(scope="module")
def model():
    return FaceModel.load()


def smooth(channels, size, seed=0):
    """A picture without fine detail."""
    coarse = torch.rand(1, channels, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)[0]


def seen(model, yaw=0.0, pitch=0.0, roll=0.0, scale=40.0, shift=(100.0, 90.0), points=None):
    rotation = turn(torch.tensor([[yaw, pitch, roll]], dtype=torch.float64))
    points = model.points if points is None else points
    return scale * points @ rotation[:, :2].mT + torch.tensor(shift, dtype=torch.float64)


def test_the_models_own_frontal_view_is_unchanged(model):
    picture = smooth(3, 96)
    template = to_crop(model.points[:, :2], 96)[None]
    crop = frontal(picture, template, model, 96)
    assert torch.allclose(crop[0], picture, atol=1e-6)
    # A byte picture, float32 landmarks, four times as large: made small without a shift.
    large = (255 * smooth(3, 384)).round().to(torch.uint8)
    small = frontal(large, model.template(384)[None], model, 96)
    mean = torch.nn.functional.avg_pool2d(large[None].float() / 255, 4)
    assert small.dtype == torch.float32 and (small - mean).abs().max() < 0.02


def test_every_pixel_of_the_frame_shows_a_point_of_the_model(model):
    maps = maps_of(model, 40)
    assert (maps.triangle >= 0).all()
    assert (maps.barycentric >= -1e-9).all() and torch.allclose(maps.barycentric.sum(-1), torch.ones(40, 40).double())
    centres = torch.arange(40).double() + 0.5
    down, across = torch.meshgrid(centres, centres, indexing="ij")
    assert torch.allclose(to_crop(maps.surface[..., :2], 40), torch.stack([across, down], -1))
    assert maps_of(model, 40) is maps


def test_the_maps_are_symmetric(model):
    """Pixels mirror into pixels of the same depth; a size of 41 also has a middle column, on the mirror plane."""
    for size in (40, 41):
        depth = maps_of(model, size).surface[..., 2]
        assert torch.allclose(depth, depth.flip(1), atol=1e-9)


@pytest.mark.parametrize("pose", [(25.0, 0.0, 0.0), (-20.0, 10.0, 30.0), (5.0, -25.0, 160.0)])
def test_a_turned_head_is_turned_back(model, pose):
    """Colours are painted on the model, photographed by a camera, and come back where they were."""
    size, side = 64, 200
    points = seen(model, *pose)

    # The photograph: each pixel is the colour of the foremost surface point that falls on it.
    fine = maps_of(model, 300).surface.reshape(-1, 3)
    where = seen(model, *pose, points=fine)[0].long()
    rotation = turn(torch.tensor([pose], dtype=torch.float64))[0]
    order = (fine @ rotation[2]).argsort()  # the nearest are painted last
    paint = torch.stack([0.5 + 0.4 * torch.sin(3 * fine[:, 0]), 0.5 + 0.4 * torch.cos(4 * fine[:, 1])])
    photo = torch.zeros(2, side, side, dtype=torch.float64)
    for at in order.split(5000):  # in pieces, so that later ones overwrite earlier ones
        photo[:, where[at, 1], where[at, 0]] = paint[:, at]

    crop = frontal(photo, points, model, size, fill=False)[0]
    surface = maps_of(model, size).surface
    expected = torch.stack([0.5 + 0.4 * torch.sin(3 * surface[..., 0]), 0.5 + 0.4 * torch.cos(4 * surface[..., 1])])
    well = visible(model, model.fit(points))[0] > 0.5
    assert well.double().mean() > 0.25
    assert (crop - expected).abs()[:, well].quantile(0.95) < 0.06


def test_the_mirrored_face_gives_the_mirrored_crop(model):
    picture = smooth(1, 200)
    points = seen(model, yaw=33, pitch=8, roll=-12)
    crop = frontal(picture, points, model, 48)
    other = frontal(picture.flip(-1), mirrored(points, 200), model, 48)
    assert torch.allclose(other, crop.flip(-1), atol=1e-9)


def test_hidden_halves_come_from_the_mirror(model):
    """Turned to the right of the picture, the right half is hidden: its outer part is the mirror image of the left."""
    picture = torch.zeros(1, 200, 200, dtype=torch.float64)
    picture[:, :, :] = torch.linspace(0, 1, 200, dtype=torch.float64)
    points = seen(model, yaw=40)
    raw, crop = (frontal(picture, points, model, 64, fill=fill)[0, 0] for fill in (False, True))
    right, left = crop[18:40, 48:], crop[18:40, :16]
    assert torch.allclose(right, left.flip(-1), atol=1e-6)
    assert torch.allclose(crop[:, :24], raw[:, :24], atol=1e-9)
    share = replaced(model, model.fit(points), 64)[0]
    assert (share[18:40, 48:] > 0.99).all() and (share[:, :24] == 0).all()
    # No seam: the share rises over several pixels.
    assert share.diff(dim=-1).abs().max() < 0.25
    # The same at every size.
    small = replaced(model, model.fit(points), 16)[0]
    assert (small - torch.nn.functional.avg_pool2d(share[None], 4)[0]).abs().max() < 0.1


def test_a_face_looking_ahead_keeps_both_halves(model):
    for yaw in (-8.0, 0.0, 8.0):
        fit = model.fit(seen(model, yaw=yaw, pitch=10))
        assert replaced(model, fit, 64).max() < 0.05


def test_turned_triangles_face_away(model):
    turned = turn(torch.tensor([[0.0, 0, 0], [50.0, 0, 0], [-50.0, 0, 0]], dtype=torch.float64))
    ahead, right, left = facing_of(model, turned)
    assert (ahead > 0).all() and (ahead <= 1).all()
    side = model.vertices[model.triangles][..., 0].mean(1)
    assert (side[right < 0] > 0).all() and (right < 0).any()
    assert (side[left < 0] < 0).all() and (left < 0).sum() == (right < 0).sum()
    # In whichever order a file names the corners.
    other = FaceModel(model.vertices, model.triangles.flip(1), model.landmarks, model.deviations)
    assert torch.allclose(facing_of(other, turned), facing_of(model, turned))


def test_what_is_behind_something_is_covered():
    """A small plate before a large one hides what lies behind it, and nothing else."""
    row = torch.linspace(-1, 1, 60, dtype=torch.float64)
    x, y = torch.meshgrid(row, row, indexing="ij")
    large = torch.stack([x, y, 0 * x], -1).view(-1, 3)
    small = large[(large[:, :2].abs() < 0.5).all(1)] + torch.tensor([0.0, 0, 1])
    hidden = covered(torch.cat([large, small]), torch.eye(3, dtype=torch.float64)[None])[0]
    behind = (large[:, :2].abs() < 0.45).all(1)
    beside = (large[:, :2].abs() > 0.6).any(1)
    assert hidden[: len(large)][behind].all() and not hidden[: len(large)][beside].any()
    assert not hidden[len(large) :].any()


def test_own_shape_is_kept_or_given_up(model):
    """A mouth twice as low: kept by DeepFace's warp, brought to the average's place with own = 0."""
    points = seen(model)
    points[:, 48:] += torch.tensor([0.0, 6.0])
    photo = torch.zeros(1, 200, 200, dtype=torch.float64)
    x, y = points[0, 66].round().long().tolist()
    photo[:, y - 3 : y + 3, x - 3 : x + 3] = 1

    def height(own):
        crop = frontal(photo, points, model, 100, own=own)[0, 0]
        return float((crop.sum(1) * (torch.arange(100) + 0.5)).sum() / crop.sum())

    average = model.template(100)[66, 1].item()
    assert abs(height(0.0) - average) < 1.5
    assert height(1.0) - average > 2.5


def test_shifts_spread_from_landmarks(model):
    spread = spread_of(model)
    assert torch.allclose(spread.sum(1), torch.ones(len(spread)).double()) and (spread >= 0).all()
    assert torch.equal(spread[model.landmarks], torch.eye(68).double())


def test_gradients_are_those_of_finite_differences(model):
    """With respect to the picture and to the landmarks, with hidden triangles and blending on the way."""
    picture = smooth(1, 9).requires_grad_()
    points = seen(model, yaw=25, pitch=5, scale=2.3, shift=(4.2, 3.1)).requires_grad_()
    assert replaced(model, model.fit(points), 5).max() > 0.1
    assert torch.autograd.gradcheck(lambda a, b: frontal(a, b, model, 5), (picture, points), atol=1e-5)
    assert torch.autograd.gradcheck(lambda b: frontal(picture.detach(), b, model, 5, own=0.3), points, atol=1e-5)


@pytest.mark.parametrize("yaw", [0.0, 30.0])
def test_a_large_checkerboard_becomes_grey(model, yaw):
    row, column = torch.meshgrid(torch.arange(900), torch.arange(900), indexing="ij")
    board = (255 * ((row + column) % 2)).to(torch.uint8)[None]
    points = seen(model, yaw=yaw, scale=300, shift=(450.0, 330.0)).float()
    crop = frontal(board, points, model, 112)
    assert (crop - 0.5).abs().max() < 0.05


def test_many_faces_of_one_picture_and_one_face_of_many(model):
    picture = smooth(3, 200).float()
    points = torch.cat([seen(model, yaw=yaw) for yaw in (-20, 0, 35)]).float()
    together = frontal(picture, points, model, 32)
    for face in range(3):
        assert torch.allclose(together[face], frontal(picture, points[face : face + 1], model, 32)[0], atol=1e-6)
    assert torch.allclose(frontal([picture] * 3, points, model, 32), together)
    assert frontal(picture, points[:0], model, 32).shape == (0, 3, 32, 32)
    with pytest.raises(BadData, match="2 pictures for 3 faces"):
        frontal([picture] * 2, points, model, 32)
    with pytest.raises(BadOption, match="own"):
        frontal(picture, points, model, 32, own=2)


def test_a_mesh_that_does_not_fill_the_frame_leaves_black(model):
    inside = (model.vertices[:, 2] > -0.7).logical_and(model.vertices[:, 1] > -0.7)
    mask = FaceModel(model.vertices, model.triangles[inside[model.triangles].all(1)], model.landmarks, model.deviations)
    crop = frontal(torch.ones(1, 200, 200).double(), seen(model), mask, 50)[0, 0]
    assert (crop[:, :2] == 0).all() and (crop[20:30, 20:30] > 0.99).all()


def test_a_face_at_the_border_repeats_its_edge(model):
    picture = torch.full((1, 60, 60), 0.25, dtype=torch.float64)
    crop = frontal(picture, seen(model, yaw=10, shift=(0.0, 59.0)), model, 32)
    assert torch.allclose(crop, torch.tensor(0.25).double())


def test_filling_leaves_symmetric_crops_alone():
    crop = torch.rand(1, 2, 6, 6)
    both = crop + crop.flip(-1)
    assert torch.allclose(filled(both, torch.rand(1, 6, 6)), both)


def test_the_model_mirrors_as_its_landmarks_do(model):
    template = model.template(90)
    assert torch.allclose(mirrored(template, 90), template, atol=1e-4)
    assert len(set(MIRRORED)) == 68
