"""The rules of the papers, under their names and with their authors' defaults.

Source: Ollivier 2015, "Riemannian metrics for neural networks I"; Marceau-Caron & Ollivier 2016,
"Practical Riemannian neural networks". They look at every step, at the whole batch. Where the authors add
1e-8 to the metric, which depends on coordinates, these damp by 3 % of each input's own reach, which does not:
without any damping a pixel lit in a single, well fitted picture sends its weight to infinity.
"""

from __future__ import annotations

from functools import partial

from isotrain.riemann.optimizer import Riemannian

_rule = partial(Riemannian, refresh=1, subsample=1.0, damping=0.03)

DOP = partial(_rule, lr=1e-4, metric="outer-product", shape="diagonal", decay=0.99)
QDOP = partial(_rule, lr=1e-3, metric="outer-product", shape="quasi-diagonal", decay=0.99)
DMCNat = partial(_rule, lr=1e-2, metric="monte-carlo", shape="diagonal", decay=0.9)
QDMCNat = partial(_rule, lr=1e-2, metric="monte-carlo", shape="quasi-diagonal", decay=0.9)
QDNat = partial(_rule, lr=1e-4, metric="exact", shape="quasi-diagonal", decay=0.99)
QDBPM = partial(_rule, lr=1e-4, metric="backpropagated", shape="quasi-diagonal", decay=0.99)
DiagonalGaussNewton = partial(_rule, lr=1e-4, metric="backpropagated", shape="diagonal", decay=0.99)
