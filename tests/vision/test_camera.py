"""A camera that took a picture of the model is found again, with the turn of the head; weights and bad landmarks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotrain.errors import BadData
from isotrain.vision.camera import LARGEST_TURN, angles_of, fit_cameras, nearest_turn, turn
from isotrain.vision.facemodel import FaceModel

angles = st.tuples(st.floats(-75, 75), st.floats(-60, 60), st.floats(-170, 170))


def seen(model, yaw=0.0, pitch=0.0, roll=0.0, scale=40.0, shift=(300.0, 200.0)):
    """The model's landmarks [1, 68, 2] in a picture."""
    rotation = turn(torch.tensor([[yaw, pitch, roll]], dtype=torch.float64))
    return scale * model.points @ rotation[:, :2].mT + torch.tensor(shift, dtype=torch.float64)


@given(angles=angles, scale=st.floats(5, 500))
def test_the_camera_of_a_projected_model_is_found_again(angles, scale):
    model = FaceModel.load()
    fit = model.fit(seen(model, *angles, scale=scale))
    assert torch.allclose(fit.angles, torch.tensor([angles], dtype=torch.float64), atol=1e-6)
    assert torch.allclose(fit.scales, torch.tensor([scale], dtype=torch.float64), rtol=1e-9)
    assert fit.residuals.abs().max() < 1e-9 * scale and fit.errors.max() < 1e-9
    rotation = fit.rotations[0]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert rotation.det() > 0.999
    expected = max(abs(angles[0]), abs(angles[1])) > LARGEST_TURN
    assert abs(max(abs(angles[0]), abs(angles[1])) - LARGEST_TURN) < 1e-6 or bool(fit.doubtful) == expected


def test_signs_of_the_angles():
    """The nose points to the right, up, and the head leans clockwise: three positive angles."""
    model = FaceModel.load()
    nose, left, right = 30, 36, 45
    middle = (seen(model)[0, left] + seen(model)[0, right]) / 2
    assert seen(model, yaw=20)[0, nose, 0] > middle[0] and seen(model, pitch=20)[0, nose, 1] < seen(model)[0, nose, 1]
    leaning = seen(model, roll=20)[0]
    assert leaning[right, 1] > leaning[left, 1]


def test_float32_landmarks_far_from_the_corner_lose_nothing():
    model = FaceModel.load()
    fit = model.fit(seen(model, yaw=20, shift=(3900.0, 2900.0)).float())
    assert fit.angles.dtype == torch.float32
    assert abs(fit.angles[0, 0].item() - 20) < 0.01


@given(seed=st.integers(0, 1000))
def test_it_is_the_weighted_least_squares(seed):
    draw = torch.Generator().manual_seed(seed)
    shape, points = (torch.randn(9, width, generator=draw, dtype=torch.float64) for width in (3, 2))
    weights = torch.rand(9, generator=draw, dtype=torch.float64) + 0.1
    fit = fit_cameras(points[None], shape, weights)
    design = torch.cat([shape, torch.ones(9, 1, dtype=torch.float64)], 1)
    slow = torch.linalg.lstsq(weights.sqrt()[:, None] * design, weights.sqrt()[:, None] * points).solution
    assert torch.allclose(fit.cameras[0], slow.mT)
    assert torch.allclose(fit.residuals[0], points - design @ slow)


def test_a_landmark_without_weight_does_not_count():
    model = FaceModel.load()
    points = seen(model, yaw=10).repeat(2, 1, 1)
    points[:, 5] += 30
    weights = torch.ones(2, 68)
    weights[0, 5] = 0
    fit = model.fit(points, weights)
    assert abs(fit.angles[0, 0] - 10) < 1e-6 < abs(fit.angles[1, 0] - 10)


def test_scattered_landmarks_are_doubtful():
    model = FaceModel.load()
    noise = torch.randn(2, 68, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = seen(model) + torch.tensor([0.5, 12.0])[:, None, None] * noise
    assert model.fit(points).doubtful.tolist() == [False, True]


def test_a_face_seen_as_a_line_is_doubtful_and_finite():
    model = FaceModel.load()
    points = seen(model)
    points[..., 0] = 5
    fit = model.fit(points)
    assert all(part.isfinite().all() for part in fit) and bool(fit.doubtful)


def test_faces_without_a_camera_are_refused():
    model = FaceModel.load()
    with pytest.raises(BadData, match="one place"):
        model.fit(torch.ones(1, 68, 2))
    weights = torch.zeros(68)
    weights[:3] = 1
    with pytest.raises(BadData, match="four landmarks"):
        model.fit(seen(model), weights)
    with pytest.raises(BadData, match="finite"):
        model.fit(torch.full((1, 68, 2), torch.nan))


def test_the_fit_is_differentiable_for_a_face_looking_ahead():
    """Where both scales of the camera agree, the derivative of a singular value decomposition would be infinite."""
    model = FaceModel.load()

    def turned(points):
        fit = model.fit(points)
        return fit.angles, fit.rotations, fit.scales

    assert torch.autograd.gradcheck(turned, seen(model, scale=2.0, shift=(0.0, 0.0)).requires_grad_())


@given(angles=angles)
def test_angles_and_rotations_are_each_others_inverse(angles):
    degrees = torch.tensor([angles], dtype=torch.float64)
    assert torch.allclose(angles_of(turn(degrees)), degrees, atol=1e-9)


def test_the_nearest_turn_is_that_of_the_singular_values():
    linear = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, sizes, right = torch.linalg.svd(linear, full_matrices=False)
    rotations, scales = nearest_turn(linear)
    assert torch.allclose(rotations[:, :2], left @ right) and torch.allclose(scales, sizes.mean(1))
