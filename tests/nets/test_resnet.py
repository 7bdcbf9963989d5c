"""Residual nets: layers and parameters as in the paper, paths through the blocks, pretrained weights."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision import models

import isotrain
from isotrain.errors import BadCheckpoint, BadOption, UnknownName
from isotrain.nets.pretrained import load_pretrained
from isotrain.nets.resnet import LARGE, SMALL, Padding, ResNet, along, shallower


def small(name: str = "resnet8", channels: int = 1, **more) -> ResNet:
    return ResNet(name, 10, [0.5] * channels, [0.25] * channels, **more)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(scope="module")
def lively() -> ResNet:
    """A net of 9 blocks none of which does nothing, in evaluation mode."""
    torch.manual_seed(1)
    net = small("resnet20")
    net(torch.rand(32, 1, 12, 12))
    return net.eval()


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", SMALL)
def test_small_nets_have_the_layers_their_names_say(name):
    with torch.device("meta"):
        net = small(name)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == int(name.removeprefix("resnet"))


@pytest.mark.parametrize(
    ("name", "millions"), [("resnet20", 0.27), ("resnet32", 0.46), ("resnet44", 0.66), ("resnet56", 0.85)]
)
def test_small_nets_have_the_papers_numbers_of_parameters(name, millions):
    # He et al. 2015, table 6; 3 channels, 10 classes.
    with torch.device("meta"):
        assert count(small(name, channels=3)) / 1e6 == pytest.approx(millions, abs=0.005)


def test_resnet110_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        assert count(small("resnet110", channels=3)) / 1e6 == pytest.approx(1.7, abs=0.05)


@pytest.mark.parametrize("name", LARGE)
def test_large_nets_are_torchvisions(name):
    with torch.device("meta"):
        ours, theirs = ResNet(name, 1000, [0.5] * 3, [0.25] * 3), getattr(models, name)()
    own = {key: value.shape for key, value in ours.state_dict().items() if not key.startswith("standardize.")}
    assert own == {key: value.shape for key, value in theirs.state_dict().items()}
    # The paper counts convolutions and the last layer, not the shortcuts' projections.
    layers = [
        key for key, m in ours.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in key
    ]
    assert len(layers) == int(name.removeprefix("resnet"))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_weights_give_torchvisions_answers(name, tmp_path):
    theirs = getattr(models, name)().eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = ResNet(name, 1000, [0.0] * 3, [1.0] * 3).eval()
    load_pretrained(ours, tmp_path / "weights.pth")
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)


def test_grey_pictures_take_the_sum_of_the_first_convolutions_channels(tmp_path):
    theirs = models.resnet18(num_classes=1000).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = ResNet("resnet18", 7, [0.0], [1.0]).eval()
    before = ours.get_submodule("fc").weight.clone()
    load_pretrained(ours, tmp_path / "weights.pth")
    x = torch.rand(2, 1, 64, 64)
    stem = nn.Sequential(theirs.conv1, theirs.bn1, theirs.relu, theirs.maxpool)
    with torch.no_grad():
        torch.testing.assert_close(ours.stem(x), stem(x.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-4)
    assert torch.equal(ours.get_submodule("fc").weight, before)


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(small("resnet14").state_dict(), path)
    with pytest.raises(BadCheckpoint, match=r"weights.pth is not a resnet8's weights: 'layer1.1.conv1.weight'"):
        load_pretrained(small(), path)
    with pytest.raises(BadCheckpoint, match="is missing"):
        load_pretrained(small("resnet20"), path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(BadCheckpoint, match=r"weights.pth cannot be read"):
        load_pretrained(small(), path)
    torch.save([1, 2], path)
    with pytest.raises(BadCheckpoint, match="no table of weights"):
        load_pretrained(small(), path)
    with pytest.raises(BadOption, match="there is no such file"):
        load_pretrained(small(), tmp_path / "absent.pth")
    with pytest.raises(BadOption, match="torchvision has no weights for resnet8"):
        load_pretrained(small(), "cache")


def test_the_cache_is_looked_into_and_nothing_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    net = ResNet("resnet18", 1000, [0.0] * 3, [1.0] * 3)
    with pytest.raises(BadOption, match=r"resnet18-f37072fd.pth.* not in torchvision's cache"):
        load_pretrained(net, "cache")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(models.resnet18().state_dict(), folder / "resnet18-f37072fd.pth")
    load_pretrained(net, "cache")


def test_names_and_shares_outside_their_range_are_refused():
    with pytest.raises(UnknownName, match=r"'resnet21' is not known\. Did you mean"):
        small("resnet21")
    with pytest.raises(BadOption, match=r"stochastic depth .* got 1"):
        small(stochastic_depth=1.0)


def test_padding_halves_and_adds_channels_of_zeros():
    x = torch.rand(2, 3, 5, 4)
    y = Padding(2)(x)
    assert y.shape == (2, 5, 3, 2)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])
    assert not y[:, 3:].any()


# --- paths --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_path_of_every_block_is_the_net(lively, pictures):
    whole = lively(pictures)
    with along(lively, range(9)):
        assert torch.equal(lively(pictures), whole)
    assert lively.path is None


@torch.no_grad()
@given(keep=st.sets(st.integers(0, 8)))
def test_dropping_a_block_is_setting_its_branch_to_zero(lively, keep):
    pictures = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    cut = copy.deepcopy(lively)
    for place in set(range(9)) - keep:
        cut.blocks[place].bn2.weight.zero_()
        cut.blocks[place].bn2.bias.zero_()
    with along(lively, sorted(keep)):
        torch.testing.assert_close(lively(pictures), cut(pictures))


@torch.no_grad()
@given(path=st.lists(st.sampled_from([1, 2]), max_size=3), split=st.integers(0, 3))
def test_a_path_in_two_parts_is_the_path(lively, path, split):
    pictures = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    whole = [0, *path, 3, 5]
    x = lively.stem(pictures)
    for place in whole[:split]:
        x = lively.blocks[place](x)
    if whole[:split][-1:] == [3]:
        split = len(whole) - 1
    with along(lively, whole):
        expected = lively(pictures)
    torch.testing.assert_close(lively.head(lively.through(x, whole[split:], after=whole[:split])), expected)


@torch.no_grad()
def test_repeated_and_swapped_blocks_run_so(lively, pictures):
    a, b = lively.blocks[1], lively.blocks[2]
    x = lively.blocks[0](lively.stem(pictures))
    rest = range(3, 9)
    for path, y in (([0, 2, 1], a(b(x))), ([0, 1, 1, 2], b(a(a(x))))):
        with along(lively, [*path, *rest]):
            torch.testing.assert_close(lively(pictures), lively.head(lively.through(y, rest, after=[0, 1, 2])))


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ([9], "blocks 0 to 8"),
        ([-1], "blocks 0 to 8"),
        ([3, 0], "block 0 of a path comes after block 3 of a later stage"),
        ([3, 3], "block 3 of a path changes the shape"),
        ([4, 3], "block 3 of a path changes the shape"),
    ],
)
def test_paths_that_lead_nowhere_are_refused_and_the_old_one_stays(lively, path, fault):
    with along(lively, [0, 1]):
        with pytest.raises(BadOption, match=fault):
            lively.path = path
        assert lively.path == (0, 1)


@torch.no_grad()
def test_a_large_net_without_a_block_keeps_its_projection(pictures):
    net = ResNet("resnet50", 4, [0.5], [0.25]).eval()
    with along(net, []):
        assert net(pictures).shape == (3, 4)


def test_shallower_nets_keep_as_many_blocks_as_asked(lively):
    net = copy.deepcopy(lively)
    assert shallower(net, 9).path == tuple(range(9))
    assert shallower(net, 3).path == (0, 3, 6)
    assert shallower(net, 2, order=[0, 3, 6, 1, 4, 7, 2, 8, 5]).path == (5, 8)
    for depth in (0, 10):
        with pytest.raises(BadOption, match=rf"depth {depth}: resnet20 has 9 residual blocks"):
            shallower(net, depth)
    with pytest.raises(BadOption, match="each of 0 to 8 once"):
        shallower(net, 2, order=[1, 2])


# --- training -----------------------------------------------------------------------------------------------------


def test_stochastic_depth_grows_linearly_and_sleeps_in_evaluation(pictures):
    net = small("resnet20", stochastic_depth=0.5)
    assert [block.drop.p for block in net.blocks] == pytest.approx([0.5 * k / 9 for k in range(1, 10)])
    between = small("resnet20", stochastic_depth=(0.1, 0.5))
    assert [block.drop.p for block in between.blocks] == pytest.approx([0.1 + 0.05 * k for k in range(9)])
    plain = small("resnet20")
    plain.load_state_dict(net.state_dict())
    net.eval(), plain.eval()
    with torch.no_grad():
        assert torch.equal(net(pictures), plain(pictures))
        block, x = net.blocks[-1].train(), torch.rand(4000, 64, 1, 1)
        block.bn1.eval(), block.bn2.eval()
        branch = block.branch(x)
        moved = (block.drop(branch) != 0).flatten(1).any(1).double().mean()
        assert float(moved) == pytest.approx(0.5, abs=0.04)
        torch.testing.assert_close(block.drop(branch).mean(0), branch.mean(0), atol=0.05, rtol=0.1)


@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_every_parameter_is_observed_and_moves(name):
    torch.manual_seed(0)
    net = ResNet(name, 3, [0.5, 0.4], [0.25, 0.2], stochastic_depth=0.3)
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    optimizer = isotrain.Riemannian(net)
    x, y = torch.rand(16, 2, 16, 16), torch.arange(16) % 3
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert not [key for key, p in net.named_parameters() if torch.equal(p, before[key])]
    assert all(bool(p.isfinite().all()) for p in net.parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_activities_have_their_channels_last(channels):
    net = small(channels=channels)
    with torch.no_grad():
        last = net.through(net.stem(torch.rand(2, channels, 16, 16)), range(3))
    assert last.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_the_net_exports_to_onnx(tmp_path):
    pytest.importorskip("onnxruntime")
    from isotrain.train.exporting import export_onnx

    found = export_onnx(small().eval(), [torch.rand(2, 1, 16, 16)], tmp_path / "net.onnx", {"classes": []})
    assert found.difference is not None
    assert found.difference < 1e-4
