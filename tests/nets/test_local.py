"""The locally connected layer: a convolution where its weights are alike, an obvious loop where they are not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isotrain.local import LocallyConnected2d

SHAPES = [((5, 7), 3, 1), ((6, 6), 2, 2), ((9, 8), 3, 2), ((4, 4), 4, 1), ((3, 5), 1, 1)]


@pytest.mark.parametrize(("size", "kernel", "stride"), SHAPES)
def test_equal_weights_at_every_place_are_a_convolution(size, kernel, stride):
    conv = nn.Conv2d(3, 4, kernel, stride, dtype=torch.float64)
    local = LocallyConnected2d(3, 4, size, kernel, stride).double()
    with torch.no_grad():
        local.weight.copy_(conv.weight.flatten(1).expand_as(local.weight))
        local.bias.copy_(conv.bias.expand_as(local.bias))
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    assert local(x).shape[2:] == local.out_size
    torch.testing.assert_close(local(x), conv(x))
    # A convolution's gradient is the sum of those of the places.
    local(x).square().sum().backward()
    conv(x).square().sum().backward()
    torch.testing.assert_close(local.weight.grad.sum(0), conv.weight.grad.flatten(1))
    torch.testing.assert_close(local.bias.grad.sum(0), conv.bias.grad)


@pytest.mark.parametrize(("size", "kernel", "stride"), SHAPES)
def test_each_place_has_weights_of_its_own(size, kernel, stride):
    local = LocallyConnected2d(2, 3, size, kernel, stride).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    high, wide = local.out_size
    expected = torch.zeros(2, 3, high, wide, dtype=torch.float64)
    for n in range(2):
        for k in range(3):
            for row in range(high):
                for column in range(wide):
                    top, left, place = row * stride, column * stride, row * wide + column
                    seen = x[n, :, top : top + kernel, left : left + kernel].flatten()
                    expected[n, k, row, column] = seen @ local.weight[place, k] + local.bias[place, k]
    torch.testing.assert_close(local(x), expected)


def test_its_weights_are_drawn_as_those_of_a_convolution():
    torch.manual_seed(0)
    local, conv = LocallyConnected2d(4, 8, (12, 12), 3), nn.Conv2d(4, 8, 3)
    bound = 1 / (4 * 9) ** 0.5
    assert conv.weight.abs().max() <= bound
    for drawn in (local.weight, local.bias):
        assert 0.99 * bound < drawn.detach().abs().max() <= bound
        assert float(drawn.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.03)
    assert "places=(10, 10)" in repr(local)
