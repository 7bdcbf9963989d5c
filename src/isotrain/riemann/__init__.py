"""Riemannian training of any torch model. Needs torch alone.

The nouns, in the order of their use: a layer is written as `units`; a `probe` says which derivatives of
the output weigh the metric; a look (`observe`) shows inputs and errors; a block keeps one shape of the
metric (`polar`, `diagonal`, `quasidiagonal`, `unitwise`, `kronecker`); the `average` says when to look and how
much a look counts; the `steplength` how far to go, which a `trial` confirms; `claims` what the whole keeps.
"""
