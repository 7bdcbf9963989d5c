"""Nets that represent an aligned face by a vector: DeepFace's, and a residual one that suits a CPU.

Shapes: n faces, c channels, h and w pixels, D numbers of a vector, P people.

Sources: Taigman et al. 2014, "DeepFace", section 3 and figure 2; He et al. 2015, "Deep residual learning"; Deng et al.
2019, "ArcFace", section 3.1 (norm, dropout, a layer from every place to the vector, norm) and equations 3 and 4.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import conv1x1
from torchvision.ops import StochasticDepth

from isotrain.errors import BadOption
from isotrain.local import LocallyConnected2d
from isotrain.nets.resnet import Basic
from isotrain.nets.standardize import Standardize

__all__ = ["LENGTH", "DeepFace", "FaceNet", "LocallyConnected2d", "OrientedGradients", "Represents", "face_net"]

BINS = 12
"""Directions of gradients that are told apart."""
WEIGHT = 2.0
"""Of the linear part's similarity, where that of the other is 1."""
SQUEEZED = 24
"""Maps that the vector is made from."""
LENGTH = 16.0
"""Logits of people are cosines times this: how sure a net can be."""


class OrientedGradients(nn.Module):
    """How much a picture changes, by direction, in cells: what light and contrast do to it is gone. No parameters.

    Gradients are shared between the two nearest of `bins` directions, averaged over cells that overlap, and measured
    against their surroundings; the root makes small changes count.

    Source: Dalal and Triggs 2005, "Histograms of oriented gradients for human detection", section 6 (as maps).

    Args:
        bins: directions.
        step: pixels between cells.
        cell: pixels of a cell's side; as much beyond `step` as is even.

    >>> ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 8
    >>> OrientedGradients(4, 4, 8)(ramp)[0, :, 0, 0].argmax().item()  # brighter to the right
    0
    """

    def __init__(self, bins: int, step: int, cell: int) -> None:
        super().__init__()
        self.bins, self.step, self.cell = bins, step, cell

    def forward(self, x_nchw: Tensor) -> Tensor:
        """[n, c, h, w] to [n, bins, h / step, w / step]; of several channels the mean."""
        y = x_nchw.mean(1, keepdim=True)
        across = F.pad(y, (1, 1, 0, 0), mode="replicate")
        down = F.pad(y, (0, 0, 1, 1), mode="replicate")
        across, down = across[..., 2:] - across[..., :-2], down[..., 2:, :] - down[..., :-2, :]
        size = (across.square() + down.square()).sqrt()
        turn = torch.atan2(down, across) * (self.bins / (2 * math.pi))
        places = torch.arange(self.bins, device=y.device, dtype=y.dtype).view(1, -1, 1, 1)
        off = (turn - places + self.bins / 2) % self.bins - self.bins / 2
        share = (1 - off.abs()).clamp_min(0) * size
        cells = F.avg_pool2d(share, self.cell, self.step, (self.cell - self.step) // 2, count_include_pad=False)
        around = F.avg_pool2d(cells.square().sum(1, keepdim=True), 5, 1, 2, count_include_pad=False)
        return (cells / (around + 1e-5).sqrt()).clamp_max(1).sqrt()


class Represents(nn.Module, ABC):
    """A net with a vector for each face, and in training a cosine with each of the people it learns from.

    A linear part stands beside what is learned by steps: directions of oriented gradients, in closed form at the end
    (`isotrain.tasks.discriminant`). The two err differently, and are surer together.

    Args:
        dims: D of the part that is learned by steps.
        people: P; 0 for a net that is trained on pairs or triplets alone.
        size: side of the pictures.
        linear: numbers of the linear part; 0 for none.

    Attributes:
        middle: [F] mean of the gradients' cells, and `ways` [F, linear]: the directions; zeros until they are known.
    """

    def __init__(self, dims: int, people: int, size: int, linear: int = 0) -> None:
        super().__init__()
        self.dims = dims + linear
        self.people = nn.Linear(dims, people, bias=False) if people else None
        self.middle: Tensor
        self.ways: Tensor
        self.coarse = OrientedGradients(BINS, 6, 8)
        cells = BINS * (size // 6) ** 2 if linear else 0
        self.register_buffer("middle", torch.zeros(cells))
        self.register_buffer("ways", torch.zeros(cells, linear))

    @abstractmethod
    def features(self, pictures_nchw: Tensor) -> Tensor:
        """What is learned by steps, [n, D], of any length."""

    def cells(self, pictures_nchw: Tensor) -> Tensor:
        """What the linear part sees, [n, F]."""
        cells: Tensor = self.coarse(pictures_nchw).flatten(1)
        return cells

    def represent(self, pictures_nchw: Tensor) -> Tensor:
        """[n, D and the linear part], each of length 1."""
        learned = F.normalize(self.features(pictures_nchw))
        if not self.ways.numel():
            return learned
        linear = F.normalize((self.cells(pictures_nchw) - self.middle) @ self.ways)
        return F.normalize(torch.cat((learned, WEIGHT**0.5 * linear), 1))

    def forward(self, pictures_nchw: Tensor) -> Tensor:
        """Vectors [n, D]; while there are people to learn from, their logits [n, P]: `LENGTH` times the cosine."""
        vectors = F.normalize(self.features(pictures_nchw))
        if self.people is None:
            return vectors
        # The length of a person's weights is taken as it stands: what it learns is the direction alone.
        length = self.people.weight.detach().norm(dim=1)
        logits: Tensor = self.people(vectors) * (LENGTH / length.clamp_min(1e-6))
        return logits


class Vectors(nn.Module):
    """The vectors of a net alone: of faces and of their mirror images, together, of length 1."""

    def __init__(self, net: Represents) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures_nchw: Tensor) -> dict[str, Tensor]:
        """The vectors [n, D], by their name."""
        both = self.net.represent(pictures_nchw) + self.net.represent(pictures_nchw.flip(3))
        return {"vectors": F.normalize(both)}


class FaceNet(Represents):
    """Directions of gradients in cells of four pixels, residual blocks in three stages, a layer from every place.

    Args:
        channels: of the pictures.
        size: side of the pictures, a multiple of 16.
        dims: D.
        people: P.
        width: channels of the first stage; each has twice those of the one before.
        blocks: in each stage.
        drop: share of the last maps' numbers left out in training.
        linear: numbers of the linear part.

    >>> FaceNet(1, 32, dims=8, people=3, width=4).eval()(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        channels: int,
        size: int,
        dims: int,
        people: int,
        width: int = 48,
        blocks: Sequence[int] = (1, 1, 1),
        drop: float = 0.4,
        linear: int = 0,
    ) -> None:
        super().__init__(dims, people, size, linear)
        self.gradients = OrientedGradients(BINS, 4, 8)
        stages: list[nn.Module] = []
        channels = BINS
        for stage, number in enumerate(blocks):
            wider = width * 2**stage
            for block in range(number):
                stride = 2 if stage and not block else 1
                shortcut = None
                if stride > 1 or channels != wider:
                    shortcut = nn.Sequential(conv1x1(channels, wider, stride), nn.BatchNorm2d(wider))
                made = Basic(channels, wider, stride, shortcut)
                made.drop = StochasticDepth(0.0, "row")
                stages.append(made)
                channels = wider
        self.stages = nn.Sequential(*stages)
        # Few maps, so that a metric of what every place of every map sees stays small (24 x 36 inputs at 96 pixels).
        squeezed = (nn.Conv2d(channels, SQUEEZED, 1, bias=False), nn.BatchNorm2d(SQUEEZED))
        self.last = nn.Sequential(*squeezed, nn.Dropout(drop), nn.Flatten())
        side = size // 16
        self.vector = nn.Linear(SQUEEZED * side * side, dims, bias=False)
        self.norm = nn.BatchNorm1d(dims)

    def features(self, pictures_nchw: Tensor) -> Tensor:
        """[n, D]."""
        features: Tensor = self.norm(self.vector(self.last(self.stages(self.gradients(pictures_nchw)))))
        return features


class DeepFace(Represents):
    """DeepFace as it was published: C1, M2, C3, locally connected L4, L5, L6, then the representation F7.

    For frontal faces, aligned in 3D, of 152 pixels; F7 is not negative, as the paper's weighted chi-square needs.

    Args:
        mean: of the pictures' channels.
        spread: of them.
        dims: D, 4096 in the paper.
        people: P.
        size: side of the pictures, 152 in the paper.
        width: factor of all channels; 1 is the paper's 95 million weights in L4 to L6 and F7.
        linear: numbers of the linear part; 0, as in the paper, for none.

    >>> net = DeepFace([0.5] * 3, [0.25] * 3, dims=8, people=3, width=0.125).eval()
    >>> net(torch.zeros(1, 3, 152, 152)).shape, net.local1.out_size, net.local3.out_size
    (torch.Size([1, 3]), (55, 55), (21, 21))
    """

    def __init__(
        self,
        mean: Sequence[float],
        spread: Sequence[float],
        dims: int,
        people: int,
        size: int = 152,
        width: float = 1.0,
        linear: int = 0,
    ) -> None:
        super().__init__(dims, people, size, linear)
        wide, narrow = max(1, round(32 * width)), max(1, round(16 * width))
        self.scale = Standardize(mean, spread)
        self.conv1 = nn.Conv2d(len(mean), wide, 11)  # C1: 142
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)  # M2: 71
        self.conv2 = nn.Conv2d(wide, narrow, 9)  # C3: 63
        side = -(-(size - 10 - 3) // 2) + 1 - 8
        self.local1 = LocallyConnected2d(narrow, narrow, (side, side), 9)  # L4: 55
        self.local2 = LocallyConnected2d(narrow, narrow, self.local1.out_size, 7, 2)  # L5: 25
        self.local3 = LocallyConnected2d(narrow, narrow, self.local2.out_size, 5)  # L6: 21
        last = self.local3.out_size
        self.drop = nn.Dropout(0.5)
        self.vector = nn.Linear(narrow * last[0] * last[1], dims)  # F7

    def features(self, pictures_nchw: Tensor) -> Tensor:
        """[n, D], not negative."""
        x = F.relu(self.conv2(self.pool(F.relu(self.conv1(self.scale(pictures_nchw))))))
        for layer in (self.local1, self.local2, self.local3):
            x = F.relu(layer(x))
        # A dead representation has no direction; the least there is keeps its length above zero.
        return F.relu(self.vector(self.drop(x.flatten(1)))) + 1e-6


NETS = ("residual", "deepface")


def face_net(
    name: str,
    mean: Sequence[float],
    spread: Sequence[float],
    size: int,
    dims: int,
    people: int,
    width: float,
    linear: int = 0,
) -> Represents:
    """The net of that name.

    Args:
        name: one of `NETS`.
        mean: of the pictures' channels.
        spread: of them.
        size: side of the pictures.
        dims: D.
        people: P.
        width: factor of its channels.
        linear: numbers of the linear part.

    Raises:
        BadOption: there is no net of that name, or its pictures cannot be of that size.
    """
    if name not in NETS:
        raise BadOption(f"net {name!r} is none of {', '.join(NETS)}.")
    if name == "deepface":
        if size < 96:
            raise BadOption(f"size={size}: DeepFace's layers need pictures of 96 pixels or more (the paper's 152).")
        return DeepFace(mean, spread, dims, people, size, width, linear)
    if size % 16 or size < 32:
        raise BadOption(f"size={size} must be a multiple of 16, 32 at least.")
    return FaceNet(len(mean), size, dims, people, max(4, round(48 * width)), linear=linear)
