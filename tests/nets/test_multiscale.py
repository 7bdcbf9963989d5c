"""The multi-scale net: shapes, the laws of its poolings, and what it does to a picture that is moved."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import isotrain
from isotrain.errors import BadOption, UnknownName
from isotrain.nets.multiscale import STRIDE, Multiscale, instances, scaled, window


def net_of(**options: object) -> Multiscale:
    return Multiscale([0.4, 0.5, 0.6], [0.2, 0.25, 0.3], classes=4, widths=(4, 8), **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(32, 32), (33, 45), (9, 70), (1, 1)])
def test_a_map_of_each_scale_covers_the_scaled_picture(size):
    net = net_of(scales=(1.0, 0.7, 1.4))
    pictures = torch.rand(2, 3, *size)
    maps = net.maps(pictures)
    for scores, (high, wide) in zip(maps, net.sizes(*size), strict=True):
        assert scores.shape == (2, 4, -(-high // STRIDE), -(-wide // STRIDE))
    assert net(pictures).shape == (2, 4)


def test_maximum_pooling_is_the_maximum_of_all_maps():
    net = net_of(scales=(1.0, 0.5))
    pictures = torch.rand(3, 3, 40, 40)
    highest = torch.stack([scores.amax((2, 3)) for scores in net.maps(pictures)]).amax(0)
    assert torch.equal(net(pictures), highest)


def test_mean_pooling_on_one_scale_is_global_average_pooling_and_a_dense_layer():
    net = net_of(scales=(1.0,), pooling="mean")
    pictures = torch.rand(3, 3, 40, 40)
    features = net.features(net.standardize(pictures)).mean((2, 3))
    dense = F.linear(features, net.head.weight.flatten(1), net.head.bias)
    assert torch.allclose(net(pictures), dense, atol=1e-5)


def test_a_single_scale_is_the_plain_convolution():
    net = net_of(scales=(1.0,))
    pictures = torch.rand(2, 3, 40, 40)
    (scores,) = net.maps(pictures)
    assert torch.equal(scores, net.head(net.features(net.standardize(pictures))))


@given(seed=st.integers(0, 1000), count=st.integers(1, 12), top=st.integers(1, 5), bottom=st.integers(0, 5))
def test_laws_of_instance_pooling(seed, count, top, bottom):
    cells = torch.randn(2, 3, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    score = instances(cells, top, bottom)
    ordered = cells.sort(2).values
    expected = ordered[:, :, -top:].mean(2) + (ordered[:, :, :bottom].mean(2) if bottom else 0)
    assert torch.allclose(score, expected)
    assert torch.allclose(score, instances(cells[:, :, order], top, bottom)), "the places must not matter"
    if bottom:
        assert torch.allclose(instances(-cells, top, top), -instances(cells, top, top)), "WELDON's is odd for k+ = k-"


def test_one_top_instance_is_the_maximum():
    pictures = torch.rand(2, 3, 40, 40)
    torch.manual_seed(3)
    highest = net_of(pooling="max")
    torch.manual_seed(3)
    one = net_of(pooling="instances", top=1, bottom=0)
    assert torch.equal(highest(pictures), one(pictures))


def test_a_picture_moved_by_whole_cells_moves_its_map():
    net = net_of(scales=(1.0,))
    by, rim = 3, window(net.depth) // STRIDE
    wide = torch.rand(1, 3, 160, 160 + by * STRIDE)
    (here,), (moved,) = net.maps(wide[..., : -by * STRIDE]), net.maps(wide[..., by * STRIDE :])
    inner = slice(rim, -rim - by)
    assert torch.allclose(here[..., rim:-rim, rim + by : -rim], moved[..., rim:-rim, inner], atol=1e-5)
    assert not torch.allclose(here[..., rim:-rim, inner], moved[..., rim:-rim, inner], atol=1e-3)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_cell_sees_its_window_and_no_more(depth):
    net = net_of(scales=(1.0,), depth=depth)
    pictures = torch.rand(1, 3, 128, 128, requires_grad=True)
    # The sum over the classes' squares: no weight of the head may hide a pixel.
    net.maps(pictures)[0][0, :, 16, 16].square().sum().backward()
    seen = pictures.grad.abs().sum((0, 1)) > 0
    rows = seen.any(1).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 <= window(depth)
    middle = (rows[0] + rows[-1] + 1) / 2
    assert abs(middle - (16 + 0.5) * STRIDE) <= 2, "a cell lies in the middle of what it sees"


def test_evidence_is_the_gradient_of_the_highest_cell_and_stays_in_its_window():
    net = net_of(scales=(1.0, 0.5))
    pictures = torch.rand(2, 3, 96, 96)
    gradient, windows = net.evidence(pictures, torch.tensor([0, 3]))
    assert set(windows.tolist()) <= {32.0, 64.0}
    for own, side in zip(gradient, windows.tolist(), strict=True):
        columns = (own.abs().sum((0, 1)) > 0).nonzero().flatten()
        assert 0 < columns[-1] - columns[0] + 1 <= side + 4  # interpolation sees a little beyond
    assert all(p.grad is None for p in net.parameters())
    # A small step along it raises the pooled score at the rate of its square.
    step = 1e-3 / float(gradient[0].norm())
    with torch.no_grad():
        gain = net(pictures[:1] + step * gradient[:1])[0, 0] - net(pictures[:1])[0, 0]
    assert float(gain) == pytest.approx(step * float(gradient[0].square().sum()), rel=0.1)


def test_shrinking_smooths_first():
    lines = torch.zeros(1, 1, 64, 64)
    lines[..., ::2] = 1
    assert scaled(lines, 0.5)[..., 4:-4].std() < 0.02
    assert scaled(lines, 1.0) is lines


@pytest.mark.parametrize(
    "options", [{"scales": ()}, {"scales": (1.0, 0.0)}, {"top": 0}, {"bottom": -1}, {"pooling": "maximum"}]
)
def test_bad_options_are_named(options):
    with pytest.raises((BadOption, UnknownName), match=next(iter(options))):
        net_of(**options)


@pytest.mark.parametrize("pooling", ["max", "instances", "mean"])
def test_the_optimizer_takes_weights_shared_by_scales(pooling):
    net = net_of(scales=(1.0, 0.7, 0.5), pooling=pooling).train()
    optimizer = isotrain.Riemannian(net)
    pictures, labels = torch.rand(16, 3, 24, 24), torch.arange(16) % 4
    losses = []
    for _ in range(5):
        loss = F.cross_entropy(net(pictures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
