"""Pictures varied at random: what may change and what may not."""

from __future__ import annotations

import torch

from isotrain.tasks.variation import less_apart, recoloured, rescanned


def a_disc(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright discs on dark ground, [n, 3, 32, 32], and their masks."""
    steps = torch.arange(32) - 15.5
    mask = (steps[:, None] ** 2 + steps**2 < 49).expand(n, -1, -1)
    return 0.3 + 0.4 * mask[:, None].float().expand(-1, 3, -1, -1), mask


def test_only_the_object_stands_out_less() -> None:
    pictures, masks = a_disc(200)
    varied = less_apart(pictures, masks, torch.Generator().manual_seed(0))
    middle = varied[:, 0, 16, 16]
    assert 0.35 < float((middle != pictures[:, 0, 16, 16]).double().mean()) < 0.65
    assert float(middle.min()) < 0.3 and float(middle.max()) > 0.75  # its contrary, and more
    assert torch.equal(varied[:, :, :5], pictures[:, :, :5])  # far from the object nothing changes


def test_without_an_object_nothing_changes() -> None:
    pictures, masks = a_disc(8)
    for none in (torch.zeros_like(masks), torch.ones_like(masks)):
        assert torch.equal(less_apart(pictures, none, torch.Generator().manual_seed(1)), pictures)


def test_another_machine_shows_the_same_things() -> None:
    pictures, _ = a_disc(200)
    varied = rescanned(pictures, torch.Generator().manual_seed(2))
    assert varied.shape == pictures.shape
    assert 0 <= float(varied.min()) and float(varied.max()) <= 1
    torch.testing.assert_close(varied.mean((1, 2, 3)), pictures.mean((1, 2, 3)), atol=0.01, rtol=0)
    same = (varied == pictures).flatten(1).all(1).double().mean()
    assert 0.15 < float(same) < 0.5


def test_the_same_generator_gives_the_same() -> None:
    pictures, masks = a_disc(4)
    for vary in (recoloured, rescanned, lambda p, g: less_apart(p, masks, g)):
        first, second = (vary(pictures, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(first, second)
