"""Fisher's linear discriminant in closed form: directions in which people differ more than pictures of one person do.

Letters: n samples, F features, K principal components, L directions.

Sources: Fisher 1936, "The use of multiple measurements in taxonomic problems"; Belhumeur, Hespanha and Kriegman 1997,
"Eigenfaces vs. Fisherfaces", equation 6 (principal components first, so that few samples do not make it singular).
"""

from __future__ import annotations

import torch
from torch import Tensor

SHRINK = 0.02
"""Share of the whole spread that is added to that within people."""
COMPONENTS = 800
"""Principal components that are kept, at most."""
LEAST = 64
"""Differences within people that are needed, at least."""


def discriminant(features_nf: Tensor, people_n: Tensor, directions: int) -> tuple[Tensor, Tensor] | None:
    """The mean [F] and the directions [F, L] of labelled samples; None where there are too few to tell.

    Each direction is scaled so that people's own spread is one, and shrunk by the share of its spread that tells people
    apart: directions that hardly do count less.

    Args:
        features_nf: [n, F].
        people_n: [n].
        directions: L, at most.

    >>> generator = torch.Generator().manual_seed(0)
    >>> people = torch.arange(100).repeat_interleave(2)
    >>> features = torch.randn(200, 5, generator=generator)
    >>> features[:, 3] += 5 * torch.randn(100, generator=generator)[people]
    >>> mean, ways = discriminant(features, people, 1)
    >>> ways[:, 0].abs().argmax().item()
    3
    """
    counts = people_n.bincount()
    several = (counts > 1)[people_n]
    within = int(several.sum()) - int((counts > 1).sum())
    if within < LEAST:
        return None
    mean_f = features_nf.mean(0)
    centred_nf = features_nf - mean_f
    kept = min(COMPONENTS, within // 2, features_nf.shape[1])
    whole_ff = centred_nf.T @ centred_nf / len(centred_nf)
    basis_fk = torch.linalg.eigh(whole_ff)[1][:, -kept:]
    inside_nk = centred_nf @ basis_fk
    means_pk = inside_nk.new_zeros(len(counts), kept).index_add_(0, people_n, inside_nk)
    means_pk = means_pk / counts.clamp_min(1)[:, None]
    off_nk = (inside_nk - means_pk[people_n])[several]
    spread_kk = inside_nk.T @ inside_nk / len(inside_nk)
    own_kk = off_nk.T @ off_nk / within + SHRINK * spread_kk
    root_kk = torch.linalg.cholesky(own_kk)
    white_kk = torch.linalg.solve_triangular(root_kk, basis_fk.T, upper=False)
    between_kk = torch.linalg.solve_triangular(
        root_kk, torch.linalg.solve_triangular(root_kk, spread_kk, upper=False).T, upper=False
    )
    ratio_k, turn_kk = torch.linalg.eigh(between_kk)
    some = min(directions, kept)
    told = (1 - 1 / ratio_k[-some:].clamp_min(1 + 1e-4)).sqrt()
    return mean_f, white_kk.T @ turn_kk[:, -some:] * told
