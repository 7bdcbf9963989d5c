"""Nets that represent faces: what light does to their gradients, DeepFace's layers, vectors, and one step of each."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from isotrain import Riemannian
from isotrain.errors import BadOption
from isotrain.likelihood import Categorical, Gaussian
from isotrain.nets.faces import LENGTH, NETS, DeepFace, FaceNet, OrientedGradients, Represents, face_net
from isotrain.tasks.faceloss import LOSSES

BY_NET = {
    "residual": lambda people: FaceNet(1, 32, dims=8, people=people, width=4),
    "deepface": lambda people: DeepFace([0.5], [0.25], dims=8, people=people, size=96, width=0.07),
}


def pictures(n: int = 2, size: int = 32, channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Smooth pictures, as faces are, from 0.2 to 0.8."""
    rough = torch.rand(n, channels, 6, 6, generator=torch.Generator().manual_seed(seed))
    return 0.2 + 0.6 * nn.functional.interpolate(rough, (size, size), mode="bilinear")


def count(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


# --- directions of gradients ---------------------------------------------------------------------------------


def ramp(degrees: float, size: int = 32) -> torch.Tensor:
    """Brighter towards a direction, 0 to the right and 90 down."""
    steps = torch.arange(float(size)) / size
    across, down = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (0.5 + 0.3 * (across * steps[None, :] + down * steps[:, None]))[None, None]


@pytest.mark.parametrize("bins", [4, 12])
def test_a_ramp_lies_in_the_bin_of_its_direction(bins):
    look = OrientedGradients(bins, 4, 8)
    for turn in range(bins):
        said = look(ramp(360 * turn / bins))[0, :, 2:-2, 2:-2].mean((1, 2))
        assert said.argmax() == turn
        assert said[turn] > 5 * said[(turn + bins // 2) % bins]
    between = look(ramp(360 * 0.5 / bins))[0, :, 3, 3]
    assert float(between[0]) == pytest.approx(float(between[1]), rel=1e-3)  # shared between the two nearest
    assert between[2 : bins - 1].max() < 0.01


def test_light_does_not_change_gradients():
    look = OrientedGradients(12, 4, 8)
    x = pictures(3, 64)
    said = look(x)
    assert said.shape == (3, 12, 16, 16)
    assert 0 <= said.min() and said.max() <= 1
    # An offset cancels but for rounding; a gain up to the little that keeps flat pictures flat.
    torch.testing.assert_close(look(x + 0.1), said, atol=2e-3, rtol=0)
    torch.testing.assert_close(look(2 * x), said, atol=0.05, rtol=0)
    torch.testing.assert_close(look(0.5 * x + 0.3), said, atol=0.08, rtol=0)
    assert (look(pictures(3, 64, seed=1)) - said).abs().mean() > 0.1


def test_a_negative_turns_all_directions_around():
    look = OrientedGradients(12, 4, 8)
    x = pictures(2, 64)
    torch.testing.assert_close(look(1 - x), look(x).roll(6, 1), atol=2e-3, rtol=0)


def test_a_mirrored_picture_mirrors_the_cells_and_the_directions():
    look = OrientedGradients(12, 4, 8)
    x = pictures(2, 64)
    mirrored = [(6 - turn) % 12 for turn in range(12)]  # right becomes left, down stays down
    torch.testing.assert_close(look(x.flip(3)), look(x).flip(3)[:, mirrored], atol=2e-3, rtol=0)


def test_flat_pictures_have_no_direction_and_colours_are_averaged():
    look = OrientedGradients(12, 4, 8)
    assert look(torch.full((1, 1, 32, 32), 0.7)).abs().max() == 0
    x = pictures(1, 32, 3)
    torch.testing.assert_close(look(x), look(x.mean(1, keepdim=True)))
    assert not list(look.parameters())


def test_gradients_of_flat_pictures_stay_finite():
    x = torch.full((1, 1, 32, 32), 0.5)
    net = FaceNet(1, 32, dims=4, people=0, width=4)
    net(torch.cat((x, pictures(3)))).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


# --- DeepFace ------------------------------------------------------------------------------------------------


def test_deepface_has_the_papers_sizes():
    """Taigman et al. 2014, figure 2."""
    net = DeepFace([0.5] * 3, [0.25] * 3, dims=16, people=5, width=0.125).eval()
    seen: dict[str, torch.Size] = {}
    for name in ("conv1", "pool", "conv2", "local1", "local2", "local3"):
        getattr(net, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.shape}))
    net(torch.zeros(1, 3, 152, 152))
    sides = {name: (shape[2], shape[3]) for name, shape in seen.items()}
    assert sides == {
        "conv1": (142, 142), "pool": (71, 71), "conv2": (63, 63),
        "local1": (55, 55), "local2": (25, 25), "local3": (21, 21),
    }  # fmt: skip


def test_deepface_has_the_papers_number_of_weights():
    """Section 3: more than 120 million parameters, 95 % of them from L4 to the layers above."""
    with torch.device("meta"):
        net = DeepFace([0.5] * 3, [0.25] * 3, dims=4096, people=4030)
    assert count(net) / 1e6 == pytest.approx(120, rel=0.1)
    assert count(net.local1) == 55 * 55 * (16 * (16 * 81) + 16)
    assert count(net.local2) == 25 * 25 * (16 * (16 * 49) + 16)
    assert count(net.local3) == 21 * 21 * (16 * (16 * 25) + 16)
    assert count(net.vector) == 4096 * (21 * 21 * 16 + 1)
    assert (count(net.conv1) + count(net.conv2)) / count(net) < 0.05


@pytest.mark.parametrize("size", [96, 97, 98, 101, 152])
def test_deepface_takes_other_sizes(size):
    net = DeepFace([0.5], [0.25], dims=4, people=2, size=size, width=0.07).eval()
    assert net(torch.rand(2, 1, size, size)).shape == (2, 2)


# --- vectors -------------------------------------------------------------------------------------------------


def size_of(net: str) -> int:
    return 96 if net == "deepface" else 32


@pytest.mark.parametrize("name", NETS)
def test_vectors_have_length_one_and_logits_are_cosines(name):
    net: Represents = BY_NET[name](3)
    x = pictures(5, size_of(name))
    net(x)
    net.eval()
    with torch.no_grad():
        vectors = net.represent(x)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))
        assert vectors.shape == (5, 8)
        people = nn.functional.normalize(net.people.weight)
        torch.testing.assert_close(net(x), LENGTH * vectors @ people.T)
        once = net(x)
        net.people.weight.mul_(7.0)  # only its direction tells
        torch.testing.assert_close(net(x), once)
        if name == "deepface":
            assert (vectors >= 0).all()
            assert (net.features(torch.zeros(1, 1, 96, 96)) >= 0).all()
    assert LENGTH >= float(net(x).detach().abs().max())


@pytest.mark.parametrize("name", NETS)
def test_without_people_a_net_gives_its_vectors(name):
    net: Represents = BY_NET[name](0).eval()
    x = pictures(3, size_of(name))
    assert net.people is None
    torch.testing.assert_close(net(x), net.represent(x))


def test_a_dead_representation_still_has_a_direction():
    net = BY_NET["deepface"](0).eval()
    with torch.no_grad():
        net.vector.bias.fill_(-1e3)
    given = net(torch.rand(2, 1, 96, 96))
    torch.testing.assert_close(given.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETS)
def test_every_parameter_is_observed_and_one_step_works(name, loss):
    by_person = LOSSES[loss].by_person
    torch.manual_seed(0)
    net = BY_NET[name](3 if by_person else 0)
    optimizer = Riemannian(net, likelihood=Categorical() if by_person else Gaussian(event_dims=1))
    x, people = pictures(8, size_of(name)), torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    before = {place: p.detach().clone() for place, p in net.named_parameters()}
    for _ in range(2):
        found = LOSSES[loss].of(net(x), people)
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
    for place, p in net.named_parameters():
        assert p.grad is not None, place
        assert p.isfinite().all(), place
        assert not torch.equal(p, before[place]) or not p.grad.any(), place


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("vgg", 96, "'vgg'"),
        ("deepface", 80, "size=80"),
        ("residual", 40, "multiple of 16"),
        ("residual", 16, "size=16"),
    ],
)
def test_a_net_that_cannot_be_is_refused(name, size, said):
    with pytest.raises(BadOption, match=said):
        face_net(name, [0.5], [0.25], size, 8, 3, 1.0)


def test_a_net_by_its_name():
    small = face_net("residual", [0.5] * 3, [0.25] * 3, 48, 8, 3, 0.1).eval()
    assert small(torch.rand(2, 3, 48, 48)).shape == (2, 3)
    assert isinstance(face_net("deepface", [0.5], [0.25], 96, 8, 0, 0.1), DeepFace)
    assert count(face_net("residual", [0.5], [0.25], 32, 8, 3, 2.0)) > 3 * count(
        face_net("residual", [0.5], [0.25], 32, 8, 3, 1.0)
    )
