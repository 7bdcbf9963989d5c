"""Fast R-CNN's net, its region proposals and its compressed layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from isotrain import Riemannian
from isotrain.errors import BadOption, UnknownName
from isotrain.likelihood.bernoulli import Bernoulli
from isotrain.likelihood.categorical import Categorical
from isotrain.likelihood.huber import Huber
from isotrain.nets.proposing import FasterRCNN, RegionProposalNet, anchor_sizes, anchors_of
from isotrain.nets.regions import FastRCNN, compress


def some_boxes(pictures: int, regions: int, size: int) -> Tensor:
    corner = torch.rand(pictures, regions, 2) * size / 2
    return torch.cat([corner, corner + 4 + torch.rand(pictures, regions, 2) * (size / 2 - 4)], 2)


@pytest.mark.parametrize("pool", ["align", "max"])
def test_a_share_of_the_pictures_gives_their_share_of_the_outputs(pool: str) -> None:
    """Nothing of a sample hangs on the others (but through batch norms in training): a look may take some of them."""
    net = FastRCNN(3, channels=1, pool=pool).eval()
    pictures, boxes = torch.rand(4, 1, 48, 48), some_boxes(4, 6, 48)
    whole = net(pictures, boxes)
    share = net(pictures[1::2], boxes[1::2])
    assert whole["classes"].shape == (4, 6, 4) and whole["boxes"].shape == (4, 6, 4)
    for name, one in whole.items():
        torch.testing.assert_close(one[1::2], share[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", ["align", "max"])
def test_a_region_sees_what_lies_in_it(pool: str) -> None:
    """A map that is its own horizontal place: bins go from left to right, and a region's mean is its middle."""
    net = FastRCNN(2, channels=1, pool=pool)
    across = torch.arange(16.0).expand(1, net.backbone.out_channels, 16, 16)  # of a picture of 64 pixels
    left, right = torch.tensor([0.0, 0.0, 32.0, 64.0]), torch.tensor([32.0, 0.0, 64.0, 64.0])
    pooled = net.pooled([across.contiguous()], torch.stack([left, right])[None])
    bins = pooled[:, 0, 0]
    assert (bins.diff(dim=1) > 0).all()
    if pool == "max":  # eight cells in seven bins, each the largest of the two it touches: 1 to 7, and 9 to 15
        assert bins.tolist() == [[1, 2, 3, 4, 5, 6, 7], [9, 10, 11, 12, 13, 14, 15]]
    else:
        torch.testing.assert_close(bins.mean(1), torch.tensor([3.5, 11.5]), atol=0.1, rtol=0)


def test_features_are_what_classes_and_boxes_are_made_of() -> None:
    net = FastRCNN(3, width=32)
    pictures, boxes = torch.rand(2, 3, 32, 32), some_boxes(2, 5, 32)
    vectors = net.features(pictures, boxes)
    assert vectors.shape == (2, 5, 32)
    out = net(pictures, boxes)
    torch.testing.assert_close(net.to_classes(vectors), out["classes"])
    torch.testing.assert_close(net.to_boxes(vectors), out["boxes"])


def test_compressed_at_full_rank_is_the_same_and_below_smaller() -> None:
    net = FastRCNN(3, width=16).eval()
    pictures, boxes = torch.rand(1, 3, 32, 32), some_boxes(1, 5, 32)
    with torch.no_grad():
        before = net(pictures, boxes)["classes"]
        net.second.weight[8:] = net.second.weight[:8]  # of rank 8
        exact = net(pictures, boxes)["classes"]
        smaller = compress(net, 8)
        torch.testing.assert_close(smaller.second(torch.eye(16)), net.second(torch.eye(16)), atol=1e-5, rtol=1e-4)
        assert not torch.equal(before, exact)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in net.parameters())
    assert isinstance(net.first, nn.Linear)  # a copy was made
    assert isinstance(compress(net, 16).first, nn.Linear)  # nothing to gain
    with pytest.raises(BadOption, match="rank=0"):
        compress(net, 0)


def test_unknown_names_and_pyramid_with_max() -> None:
    with pytest.raises(UnknownName, match="resnet18"):
        FastRCNN(2, backbone="resnet-18")
    with pytest.raises(UnknownName, match="pool"):
        FastRCNN(2, pool="mean")
    with pytest.raises(BadOption, match="align"):
        FastRCNN(2, backbone="resnet18", pool="max")


def test_pyramid() -> None:
    net = FastRCNN(2, channels=1, backbone="resnet18").eval()
    with torch.no_grad():
        out = net(torch.rand(2, 1, 64, 64), some_boxes(2, 3, 64))
        assert len(net.maps(torch.rand(1, 1, 64, 64))) == len(net.backbone.strides)
    assert out["classes"].shape == (2, 3, 3)


def test_pyramid_pools_as_torchvision_does() -> None:
    from torchvision.ops import MultiScaleRoIAlign

    net = FastRCNN(2, channels=1, backbone="resnet18").eval()
    maps = [torch.rand(2, net.backbone.out_channels, 512 // stride, 512 // stride) for stride in net.backbone.strides]
    boxes = some_boxes(2, 9, 512)
    boxes[:, :4, 2:] = boxes[:, :4, :2] + 30  # small ones belong to the finest map
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], net.grid, 2)
    named = {str(level): one for level, one in enumerate(maps)}
    expected = theirs(named, list(boxes), [(512, 512)] * 2)
    # torchvision lets the pyramid's boxes lie half a place off (aligned=False); the same boxes so shifted.
    shifted = boxes + 0.5 * torch.tensor([4, 8, 16, 32])[theirs.map_levels(list(boxes))].view(2, 9, 1)
    torch.testing.assert_close(net.pooled(maps, shifted), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("strides", [[8], [4, 8, 16]])
@pytest.mark.parametrize("size", [64, 40])
def test_anchors_lie_where_their_answers_are_made(strides: list[int], size: int) -> None:
    """An answer that is only loud at one place of one map belongs to an anchor centred on that place."""
    net = RegionProposalNet(8, strides)
    for convolution in (net.around, net.to_objects):
        nn.init.constant_(convolution.weight, 0.0)
        nn.init.zeros_(convolution.bias)
    net.around.weight.data[:, :, 1, 1] = 1.0
    net.to_objects.weight.data.fill_(1.0)
    anchors = anchors_of(size, size, strides)
    for level, stride in enumerate(strides):
        maps = [torch.zeros(1, 8, -(-size // s), -(-size // s)) for s in strides]
        maps[level][0, :, 2, 1] = 1.0
        objects, deltas = net(maps)
        assert objects.shape == (1, len(anchors)) and deltas.shape == (1, len(anchors), 4)
        loud = anchors[objects[0] > 0]
        assert len(loud) == len(anchor_sizes(strides)[level]) * 3
        middle = (loud[:, :2] + loud[:, 2:]) / 2
        torch.testing.assert_close(middle, torch.tensor([1.5, 2.5]).expand_as(middle) * stride, atol=0.5, rtol=0)


def test_proposals_are_inside_apart_and_sorted() -> None:
    from torchvision.ops import box_iou

    net = FasterRCNN(2, channels=1).eval()
    boxes = net.propose(net.maps(torch.rand(1, 1, 64, 64)), 64, 64, 20)
    assert 0 < len(boxes) <= 20
    assert boxes.min() >= 0 and boxes.max() <= 64
    assert (box_iou(boxes, boxes) - torch.eye(len(boxes))).max() <= 0.7


def test_the_optimizer_takes_all_heads() -> None:
    """Three steps of everything at once, with pictures that have no object among them."""
    net = FasterRCNN(2, channels=1, grid=3, width=16)
    likelihoods = {
        "classes": Categorical(dim=-1, ignore_index=-100),
        "boxes": Huber(event_dims=1, masked=True),
        "objects": Bernoulli(masked=True),
        "anchors": Huber(event_dims=1, masked=True),
    }
    optimizer = Riemannian(net, likelihood=likelihoods)
    pictures, boxes = torch.rand(4, 1, 32, 32), some_boxes(4, 6, 32)
    labels = torch.randint(3, (4, 6))
    labels[0] = 0
    before = [p.detach().clone() for p in net.parameters()]
    for _ in range(3):
        out = net(pictures, boxes)
        near = (torch.rand(4, 6) < 0.5) & (labels > 0)
        loss = nn.functional.cross_entropy(out["classes"].flatten(0, 1), labels.flatten())
        for name, rows in (("boxes", near), ("anchors", torch.rand(out["objects"].shape) < 0.1)):
            apart = nn.functional.smooth_l1_loss(out[name], torch.ones_like(out[name]), reduction="none").sum(-1)
            loss = loss + (apart * rows).sum() / rows.sum().clamp_min(1)
        counted = torch.rand(out["objects"].shape) < 0.3
        entropy = nn.functional.binary_cross_entropy_with_logits(
            out["objects"], torch.zeros_like(out["objects"]), reduction="none"
        )
        loss = loss + (entropy * counted).sum() / counted.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert all(not torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
