"""The nets of masks: shapes, a share of the samples, and a window that is slid."""

from __future__ import annotations

import pytest
import torch

from isotrain.nets.deepmask import DeepMask
from isotrain.nets.masks import MaskRCNN
from isotrain.tasks.sliding import propose


@pytest.fixture
def net() -> DeepMask:
    made = DeepMask([0.5, 0.5, 0.5], [0.25] * 3, classes=2, widths=(8, 8, 8), hidden=16).eval()
    with torch.no_grad():
        made.mask.bias.fill_(1.0)  # masks that are not empty
    return made


def test_each_picture_is_judged_for_itself(net: DeepMask) -> None:
    pictures, boxes = torch.rand(3, 3, 96, 104), torch.tensor([10.0, 12.0, 40.0, 50.0]).repeat(3, 2, 1)
    cells = torch.tensor([[[0, 3], [2, 0]], [[1, 1], [0, 0]], [[2, 3], [2, 2]]])
    together, alone = net(pictures, cells, boxes), net(pictures[1:2], cells[1:2], boxes[1:2])
    for name, out in together.items():
        torch.testing.assert_close(out[1:2], alone[name], rtol=1e-4, atol=1e-5)


def test_windows_are_gathered_where_the_score_is_theirs(net: DeepMask) -> None:
    """Of a cell the gathered features are what a slice gives, and their score is the map's."""
    features = net.inner(torch.rand(2, 3, 96, 104))
    wide = net.features_of_window(features[-1])
    own, own_wide = net.at(features, wide, torch.tensor([[[1, 2]], [[0, 3]]]))
    torch.testing.assert_close(own[0][0], features[0][0, :, 4:36, 8:40])
    torch.testing.assert_close(own[2][1], features[2][1, :, 0:8, 3:11])
    torch.testing.assert_close(net.features_of_window(own[2]).flatten(1), own_wide, rtol=1e-4, atol=1e-5)


def test_a_single_class_needs_no_regions() -> None:
    net = DeepMask([0.5], [0.25], classes=1, widths=(8, 8, 8), hidden=16)
    assert set(net(torch.rand(2, 1, 80, 80), torch.zeros(2, 1, 2, dtype=torch.long))) == {"masks", "scores"}


@pytest.mark.parametrize(("window", "widths"), [(64, (8, 8, 8)), (128, (8, 8, 8, 8)), (96, (8, 8, 8))])
def test_a_mask_has_the_windows_size(window: int, widths: tuple[int, ...]) -> None:
    net = DeepMask([0.5], [0.25], classes=1, window=window, margin=0, widths=widths, hidden=16)
    out = net(torch.rand(2, 1, window, window), torch.zeros(2, 1, 2, dtype=torch.long))
    assert out["masks"].shape == (2, 1, window, window) and out["scores"].shape == (2, 1, 1)


def test_what_moves_by_a_stride_is_found_a_stride_further(net: DeepMask) -> None:
    fill = torch.tensor([0.5, 0.5, 0.5])
    here = torch.full((3, 96, 96), 0.5)
    here[:, 20:44, 28:60] = torch.rand(3, 24, 32)
    there = here.roll((8, 16), (1, 2))
    first, second = (propose(net, picture, (1.0,), fill, most=40) for picture in (here, there))
    middle = first.views[0, :2]
    moved = (second.views[:, :2] - middle - torch.tensor([16.0, 8.0])).abs().sum(1).argmin()
    assert float((second.views[moved, :2] - middle).sum()) == 24
    torch.testing.assert_close(first.scores[0], second.scores[moved], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.shapes[0], second.shapes[moved], rtol=1e-4, atol=1e-4)


def test_peaks_are_among_the_others_and_fewer(net: DeepMask) -> None:
    picture, fill = torch.rand(3, 70, 90), torch.tensor([0.5, 0.5, 0.5])
    all_of_them = propose(net, picture, (0.7, 1.0), fill, most=1000)
    peaks = propose(net, picture, (0.7, 1.0), fill, most=1000, peaks=True)
    assert 0 < len(peaks.scores) < len(all_of_them.scores)
    assert float(peaks.scores[0]) == float(all_of_them.scores[0])


@pytest.mark.parametrize("per_class", [False, True])
def test_masks_of_regions_go_by_picture(per_class: bool) -> None:
    net = MaskRCNN(classes=3, per_class=per_class).eval()
    pictures = torch.rand(2, 3, 64, 64)
    boxes = torch.tensor([[[4.0, 4.0, 40.0, 30.0], [0.0, 0.0, 64.0, 64.0]], [[8.0, 8.0, 30.0, 60.0]] * 2])
    together = net(pictures, boxes, boxes)["masks"]
    assert together.shape == ((2, 2, 3, 28, 28) if per_class else (2, 2, 28, 28))
    torch.testing.assert_close(together[1:], net(pictures[1:], boxes[1:], boxes[1:])["masks"], rtol=1e-4, atol=1e-5)
