"""Likelihoods: losses that can also be asked what the model itself believes.

The metric of a natural gradient weighs a change of the parameters by the change of the model's
predictive distribution, so the optimizer has to know what the output means. A likelihood says it.
"""

from __future__ import annotations

from isotrain.errors import UnknownName
from isotrain.likelihood.base import Evidence, Likelihood
from isotrain.likelihood.bernoulli import Bernoulli
from isotrain.likelihood.categorical import Categorical
from isotrain.likelihood.gaussian import Gaussian
from isotrain.likelihood.huber import Huber

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "categorical": Categorical,
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "huber": Huber,
}

__all__ = ["LIKELIHOODS", "Bernoulli", "Categorical", "Evidence", "Gaussian", "Huber", "Likelihood", "named"]


def named(likelihood: str | Likelihood) -> Likelihood:
    """The likelihood of that name, or the object itself.

    Raises:
        UnknownName: no likelihood has that name.

    >>> named("gaussian").variance
    0.5
    """
    if isinstance(likelihood, Likelihood):
        return likelihood
    if likelihood not in LIKELIHOODS:
        raise UnknownName("likelihood", likelihood, LIKELIHOODS)
    return LIKELIHOODS[likelihood]()
