"""What a representation of faces is trained by: who it is, of all people learned from, or which two are one person.

Letters: n faces, D numbers of a vector (of length 1), P people.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from isotrain.nets.faces import LENGTH

MARGIN = 0.2
"""Radians that a face must be nearer to its own person than to the others (`margin`)."""
APART = 1.0
"""Distance beyond which two people's faces need not be pushed further (`contrastive`)."""
CLOSER = 0.2
"""Squared distance by which a face must be nearer to the same person than to another (`triplet`)."""


@dataclass(frozen=True)
class Loss:
    """One kind of loss.

    Attributes:
        by_person: computed from logits [n, P] of the people learned from; else from vectors [n, D].
        of: loss from those and the people's numbers [n].
    """

    by_person: bool
    of: Callable[[Tensor, Tensor], Tensor]


def softmax(logits_np: Tensor, people_n: Tensor) -> Tensor:
    """Cross-entropy of who it is.

    Source: Taigman et al. 2014, "DeepFace", section 3.
    """
    return F.cross_entropy(logits_np, people_n)


def margin(logits_np: Tensor, people_n: Tensor) -> Tensor:
    """Cross-entropy with the angle to the own person made larger by `MARGIN`.

    By how much that lowers the logit is taken as a constant: the gradient is then that of a cross-entropy, which is
    what a metric of the model's own distribution is made for; it differs from the source's by a factor of one term.

    Source: Deng et al. 2019, "ArcFace", equation 3.

    >>> logits = LENGTH * torch.tensor([[0.5, 0.4]])
    >>> bool(margin(logits, torch.tensor([0])) > softmax(logits, torch.tensor([0])))
    True
    """
    own_n1 = logits_np.detach().gather(1, people_n[:, None])
    angle_n1 = (own_n1 / LENGTH).clamp(-1 + 1e-6, 1 - 1e-6).acos()
    # Beyond pi the cosine would rise again.
    lower_n1 = LENGTH * (angle_n1 + MARGIN).clamp_max(math.pi).cos() - own_n1
    return F.cross_entropy(logits_np.scatter_add(1, people_n[:, None], lower_n1), people_n)


def contrastive(vectors_nd: Tensor, people_n: Tensor) -> Tensor:
    """Squared distance of the pairs of one person; squared shortfall from `APART` of those of two. All pairs count.

    Each kind is a mean over its own pairs, so that the few of one person weigh as much as the many of two. The pairs of
    two that are far enough do not count: else the few that are not would hardly be felt.

    Source: Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an invariant mapping", equation 4.

    >>> contrastive(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])).item()
    0.0
    """
    square_nn, same_nn, other_nn = _pairs(vectors_nd, people_n)
    short_nn = (APART - (square_nn + 1e-8).sqrt()).clamp_min(0) * other_nn
    near = (square_nn * same_nn).sum() / same_nn.sum().clamp_min(1)
    return near + short_nn.square().sum() / (short_nn > 0).sum().clamp_min(1)


def triplet(vectors_nd: Tensor, people_n: Tensor) -> Tensor:
    """For every pair of one person: by how much the nearest other that is not nearer yet is too near.

    Source: Schroff, Kalenichenko and Philbin 2015, "FaceNet", equation 2 and section 3.2 (semi-hard negatives).

    >>> triplet(torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 0, 1])).item()
    0.0
    """
    square_nn, same_nn, other_nn = _pairs(vectors_nd, people_n)
    anchors, mates = same_nn.nonzero(as_tuple=True)
    if not len(anchors):
        return vectors_nd.sum() * 0.0
    near_t1 = square_nn[anchors, mates][:, None]
    far_tn = square_nn[anchors].masked_fill(~other_nn[anchors], torch.inf)
    harder_tn = far_tn.masked_fill(far_tn <= near_t1, torch.inf)
    # Where all others are nearer than the mate, the farthest of them.
    hardest_t = far_tn.masked_fill(~other_nn[anchors], -torch.inf).amax(1)
    found_t = harder_tn.amin(1)
    far_t = torch.where(found_t.isfinite(), found_t, hardest_t)
    short_t = (near_t1[:, 0] - far_t + CLOSER).clamp_min(0)
    return torch.where(far_t.isfinite(), short_t, 0.0).mean()


def _pairs(vectors_nd: Tensor, people_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances of all pairs, which are of one person (each with itself left out), and which of two."""
    square_nn = (2 - 2 * vectors_nd @ vectors_nd.T).clamp_min(0)
    same_nn = people_n[:, None] == people_n
    itself_nn = torch.eye(len(people_n), dtype=torch.bool, device=people_n.device)
    return square_nn, same_nn & ~itself_nn, ~same_nn


LOSSES = {
    "softmax": Loss(True, softmax),
    "margin": Loss(True, margin),
    "contrastive": Loss(False, contrastive),
    "triplet": Loss(False, triplet),
}
