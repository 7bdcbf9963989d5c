"""The rules of the papers, under their names and with their authors' defaults.

Source: Ollivier 2015, "Riemannian metrics for neural networks I"; Marceau-Caron & Ollivier 2016,
"Practical Riemannian neural networks". They look at every step, at the whole batch, without damping.
"""

from __future__ import annotations

from functools import partial

from isotrain.riemann.optimizer import Riemannian

_rule = partial(Riemannian, refresh=1, subsample=1.0, damping=0.0)

DOP = partial(_rule, lr=1e-4, metric="outer-product", shape="diagonal", decay=0.99)
QDOP = partial(_rule, lr=1e-3, metric="outer-product", shape="quasi-diagonal", decay=0.99)
DMCNat = partial(_rule, lr=1e-2, metric="monte-carlo", shape="diagonal", decay=0.9)
QDMCNat = partial(_rule, lr=1e-2, metric="monte-carlo", shape="quasi-diagonal", decay=0.9)
QDNat = partial(_rule, lr=1e-4, metric="exact", shape="quasi-diagonal", decay=0.99)
QDBPM = partial(_rule, lr=1e-4, metric="backpropagated", shape="quasi-diagonal", decay=0.99)
DiagonalGaussNewton = partial(_rule, lr=1e-4, metric="backpropagated", shape="diagonal", decay=0.99)
