"""isotrain: train a network without tuning it, and get the same result however you wrote it down.

>>> import isotrain, torch
>>> optimizer = isotrain.Riemannian(torch.nn.Linear(2, 3))
>>> sorted(change.value for change in optimizer.claims())[:2]
['input-affine', 'input-inversion']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from isotrain.version import __version__

# Where each public name lives. Looked up on first use, so that `isotrain --help` never loads torch.
_HOME = {
    "Riemannian": "isotrain.riemann.optimizer",
    "DOP": "isotrain.riemann.named",
    "QDOP": "isotrain.riemann.named",
    "DMCNat": "isotrain.riemann.named",
    "QDMCNat": "isotrain.riemann.named",
    "QDNat": "isotrain.riemann.named",
    "QDBPM": "isotrain.riemann.named",
    "DiagonalGaussNewton": "isotrain.riemann.named",
    "Likelihood": "isotrain.likelihood.base",
    "Categorical": "isotrain.likelihood.categorical",
    "Bernoulli": "isotrain.likelihood.bernoulli",
    "Gaussian": "isotrain.likelihood.gaussian",
    "Huber": "isotrain.likelihood.huber",
    "Change": "isotrain.riemann.claims",
    "start": "isotrain.riemann.start",
    "Averages": "isotrain.riemann.iterates",
    "audit": "isotrain.lab.audit",
    "compare": "isotrain.lab.compare",
    "IsotrainError": "isotrain.errors",
}
__all__ = [
    *_HOME,
    "__version__",
    "IsotrainError",
    "audit",
    "compare",
    "Averages",
    "Likelihood",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "Huber",
    "Change",
    "DMCNat",
    "DOP",
    "DiagonalGaussNewton",
    "QDBPM",
    "QDMCNat",
    "QDNat",
    "QDOP",
    "Riemannian",
    "start",
]

if TYPE_CHECKING:
    from isotrain.errors import IsotrainError
    from isotrain.lab.audit import audit
    from isotrain.lab.compare import compare
    from isotrain.likelihood.base import Likelihood
    from isotrain.likelihood.bernoulli import Bernoulli
    from isotrain.likelihood.categorical import Categorical
    from isotrain.likelihood.gaussian import Gaussian
    from isotrain.likelihood.huber import Huber
    from isotrain.riemann.claims import Change
    from isotrain.riemann.iterates import Averages
    from isotrain.riemann.named import DOP, QDBPM, QDOP, DiagonalGaussNewton, DMCNat, QDMCNat, QDNat
    from isotrain.riemann.optimizer import Riemannian
    from isotrain.riemann.start import start


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'isotrain' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
