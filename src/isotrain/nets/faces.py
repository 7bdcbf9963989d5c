"""Nets that represent an aligned face by a vector: DeepFace's, and a residual one that suits a CPU.

Shapes: n faces, c channels, h and w pixels, D numbers of a vector, P people.

Sources: Taigman et al. 2014, "DeepFace", section 3 and figure 2; He et al. 2015, "Deep residual learning"; Deng et al.
2019, "ArcFace", section 3.1 (norm, dropout, a layer from every place to the vector, norm) and equations 3 and 4.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import conv1x1
from torchvision.ops import StochasticDepth

from isotrain.errors import BadOption
from isotrain.local import LocallyConnected2d
from isotrain.nets.resnet import Basic
from isotrain.nets.standardize import Standardize

__all__ = ["LENGTH", "DeepFace", "FaceNet", "LocalContrast", "LocallyConnected2d", "Represents", "face_net"]

LENGTH = 16.0
"""Logits of people are cosines times this: how sure a net can be."""


class LocalContrast(nn.Module):
    """What is left of a picture when each place is measured against its surroundings: light and contrast gone.

    (x - local mean) / (local spread + a little), with means over a square of `side` pixels. No parameters.

    Source: Jarrett et al. 2009, "What is the best multi-stage architecture for object recognition?", section 2.1.

    >>> LocalContrast(3, 0.1)(torch.full((1, 1, 4, 4), 0.7)).abs().max().item() < 1e-5
    True
    """

    def __init__(self, side: int, floor: float) -> None:
        super().__init__()
        self.side, self.floor = side, floor

    def forward(self, x_nchw: Tensor) -> Tensor:
        """Same shape; more than one channel is measured against the mean of all."""
        pad = self.side // 2

        def around(y: Tensor) -> Tensor:
            y = F.pad(y.mean(1, keepdim=True), (pad, pad, pad, pad), mode="replicate")
            return F.avg_pool2d(F.avg_pool2d(y, (1, self.side), 1), (self.side, 1), 1)  # twice a line, not a square

        centred = x_nchw - around(x_nchw)
        return centred / (around(centred.square()).sqrt() + self.floor)


class Represents(nn.Module, ABC):
    """A net with a vector for each face, and in training a cosine with each of the people it learns from.

    Args:
        dims: D.
        people: P; 0 for a net that is trained on pairs or triplets alone.
    """

    def __init__(self, dims: int, people: int) -> None:
        super().__init__()
        self.dims = dims
        self.people = nn.Linear(dims, people, bias=False) if people else None

    @abstractmethod
    def features(self, pictures_nchw: Tensor) -> Tensor:
        """[n, D], of any length."""

    def represent(self, pictures_nchw: Tensor) -> Tensor:
        """[n, D], each of length 1."""
        return F.normalize(self.features(pictures_nchw))

    def forward(self, pictures_nchw: Tensor) -> Tensor:
        """Vectors [n, D]; while there are people to learn from, their logits [n, P]: `LENGTH` times the cosine."""
        vectors = self.represent(pictures_nchw)
        if self.people is None:
            return vectors
        # The length of a person's weights is taken as it stands: what it learns is the direction alone.
        length = self.people.weight.detach().norm(dim=1)
        logits: Tensor = self.people(vectors) * (LENGTH / length.clamp_min(1e-6))
        return logits


class FaceNet(Represents):
    """Residual blocks in four stages; from every place of the last to the vector.

    Args:
        mean: of the pictures' channels, in [0, 1].
        spread: of them.
        size: side of the pictures, a multiple of 32.
        dims: D.
        people: P.
        width: channels of the first stage; each has twice those of the one before.
        blocks: in each stage.
        drop: share of the last maps' numbers left out in training.

    >>> FaceNet([0.5], [0.25], 32, dims=8, people=3, width=4).eval()(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        mean: Sequence[float],
        spread: Sequence[float],
        size: int,
        dims: int,
        people: int,
        width: int = 24,
        blocks: Sequence[int] = (1, 1, 1, 1),
        drop: float = 0.4,
    ) -> None:
        super().__init__(dims, people)
        self.scale = nn.Sequential(Standardize(mean, spread), LocalContrast(size // 8 * 2 + 1, 0.2))
        self.stem = nn.Sequential(
            nn.Conv2d(len(mean), width, 3, 1 if size < 64 else 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        stages: list[nn.Module] = []
        channels = width
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
        side = size // (8 if size < 64 else 16)
        self.last = nn.Sequential(nn.BatchNorm2d(channels), nn.Dropout(drop), nn.Flatten())
        self.vector = nn.Linear(channels * side * side, dims, bias=False)
        self.norm = nn.BatchNorm1d(dims)

    def features(self, pictures_nchw: Tensor) -> Tensor:
        """[n, D]."""
        maps = self.stages(self.stem(self.scale(pictures_nchw)))
        features: Tensor = self.norm(self.vector(self.last(maps)))
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
    ) -> None:
        super().__init__(dims, people)
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
    name: str, mean: Sequence[float], spread: Sequence[float], size: int, dims: int, people: int, width: float
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

    Raises:
        BadOption: there is no net of that name, or its pictures cannot be of that size.
    """
    if name not in NETS:
        raise BadOption(f"net {name!r} is none of {', '.join(NETS)}.")
    if name == "deepface":
        if size < 96:
            raise BadOption(f"size={size}: DeepFace's layers need pictures of 96 pixels or more (the paper's 152).")
        return DeepFace(mean, spread, dims, people, size, width)
    if size % 16 or size < 32:
        raise BadOption(f"size={size} must be a multiple of 16, 32 at least.")
    return FaceNet(mean, spread, size, dims, people, max(4, round(24 * width)))
