"""Sending squares back: operations whose backward pass multiplies by the squared derivative.

Inside `squared_derivatives()` each operation below records a backward pass that maps the weights q of its
outputs to q_in = sum_out (d out / d in)^2 q_out. Operations that only move or add entries (reshape, slice,
concatenate, add, max pooling, relu) have derivatives 0 and 1, which are their own squares. Anything else
is refused by name rather than propagated wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, resolve_name

from isotrain.errors import UnsupportedOperation


class _Elementwise(torch.autograd.Function):
    """An elementwise function whose backward squares its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            y = function(leaf)
        (slope,) = torch.autograd.grad(y, leaf, torch.ones_like(y))
        ctx.save_for_backward(slope)
        return y.detach()

    @staticmethod
    def backward(ctx: Any, q: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope.square() * q, None


class _Linear(torch.autograd.Function):
    """A function linear in x (with weights w) whose backward is the transpose of the function with w^2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(x, w)
        return function(x, w)

    @staticmethod
    def backward(ctx: Any, q: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, w = ctx.saved_tensors
        needs = ctx.needs_input_grad
        with torch.enable_grad():
            x2, w2 = x.detach().square(), w.detach().square()
            leaf_x, leaf_w = x2.requires_grad_(), w2.requires_grad_()
            y = ctx.function(leaf_x, leaf_w)
        wanted = [leaf for leaf, need in ((leaf_x, needs[0]), (leaf_w, needs[1])) if need]
        found = iter(torch.autograd.grad(y, wanted, q))
        return next(found) if needs[0] else torch.zeros_like(x), next(found) if needs[1] else None, None


class _Jacobian(torch.autograd.Function):
    """A function whose squared backward is given in closed form: `squares(q)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, squares: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.squares = squares
        return y.detach().clone()

    @staticmethod
    def backward(ctx: Any, q: Tensor) -> tuple[Tensor, None, None]:
        return ctx.squares(q), None, None


def _elementwise(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.pop("inplace", None)
        return _Elementwise.apply(x, lambda leaf: function(leaf, *args, **kwargs))  # type: ignore[no-any-return]

    return run


def _weighted(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """linear and convolutions: (x, weight, bias, ...)."""

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        y: Tensor = _Linear.apply(x, weight.detach(), lambda a, w: function(a, w, None, *args, **kwargs))
        if bias is None:
            return y
        axis = 1 if function is not F.linear and y.ndim == weight.ndim else (0 if function is not F.linear else -1)
        shape = [1] * y.ndim
        shape[axis] = -1
        return y + bias.detach().view(shape)

    return run


def _product(left: Any, right: Any) -> Tensor:
    if left is right:
        return _Elementwise.apply(left, torch.square)  # type: ignore[no-any-return]
    if not isinstance(left, Tensor):
        left, right = right, left
    if not isinstance(right, Tensor):
        return _Elementwise.apply(left, lambda a: a * right)  # type: ignore[no-any-return]
    return _Linear.apply(left, right, torch.mul)  # type: ignore[no-any-return]


def _quotient(left: Any, right: Any) -> Tensor:
    if isinstance(right, Tensor) and right.requires_grad:
        raise UnsupportedOperation("metric='backpropagated' cannot divide by an activity: use metric='monte-carlo'.")
    return _product(left, 1 / right)


def _negative(x: Tensor) -> Tensor:
    return _Elementwise.apply(x, torch.neg)  # type: ignore[no-any-return]


def _difference(left: Any, right: Any) -> Tensor:
    difference: Tensor = left + (_negative(right) if isinstance(right, Tensor) else -right)
    return difference


def _matmul(left: Tensor, right: Tensor) -> Tensor:
    return _Linear.apply(left, right, torch.matmul)  # type: ignore[no-any-return]


def _averaging(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Linear with constant weights 0 or 1/m that are the same for all outputs of a call: the square is 1/m of it."""

    def run(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        y = function(x.detach(), *args, **kwargs)

        def squares(q: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = torch.zeros_like(x, requires_grad=True)
                first = torch.autograd.grad(function(leaf, *args, **kwargs).sum(), leaf, retain_graph=False)[0]
                leaf = torch.zeros_like(x, requires_grad=True)
                out = function(leaf, *args, **kwargs)
            total = torch.autograd.grad(out, leaf, q)[0]
            windows = x.numel() / max(1, out.numel())
            overlap = first.max() * windows
            if not torch.allclose(first, first.max().expand_as(first)) or abs(float(overlap) - 1) > 1e-6:
                raise UnsupportedOperation(
                    "metric='backpropagated' supports average pooling only in windows that tile their input: "
                    "use metric='monte-carlo'."
                )
            return total / windows

        return _Jacobian.apply(x, y, squares)  # type: ignore[no-any-return]

    return run


def _mean(x: Tensor, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Tensor:
    dims = tuple(range(x.ndim)) if dim is None else ((dim,) if isinstance(dim, int) else tuple(dim))
    count = 1
    for d in dims:
        count *= x.shape[d]
    return _product(x.sum(dims, keepdim=keepdim, **kwargs), 1 / count)


def _softmax(x: Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> Tensor:
    """d p_i / d z_j = p_i (1[i=j] - p_j)."""
    assert dim is not None
    p = torch.softmax(x.detach(), dim)

    def squares(q: Tensor) -> Tensor:
        shared = (p.square() * q).sum(dim, keepdim=True)
        return p.square() * ((1 - 2 * p) * q + shared)

    return _Jacobian.apply(x, p, squares)  # type: ignore[no-any-return]


def _normalised(x: Tensor, dims: tuple[int, ...], eps: float, centre: bool = True) -> Tensor:
    """(x - mean) / std over dims: d y_i / d x_j = (1[i=j] - (centre + y_i y_j) / m) / std."""
    x0 = x.detach()
    mean = x0.mean(dims, keepdim=True) if centre else torch.zeros_like(x0.sum(dims, keepdim=True))
    deviation = ((x0 - mean).square().mean(dims, keepdim=True) + eps).sqrt()
    y = (x0 - mean) / deviation
    m = x0.numel() / mean.numel()

    def squares(q: Tensor) -> Tensor:
        w = q / deviation.square()
        s0, s1, s2 = ((w * y.pow(power)).sum(dims, keepdim=True) for power in (0, 1, 2))
        ones = 1.0 if centre else 0.0
        own = (ones + y.square()) / m
        cross = (ones * s0 + 2 * ones * y * s1 + y.square() * s2) / m**2
        return w * (1 - 2 * own) + cross

    return _Jacobian.apply(x, y, squares)  # type: ignore[no-any-return]


def _gained(y: Tensor, weight: Tensor | None, bias: Tensor | None, shape: list[int]) -> Tensor:
    y = y if weight is None else _product(y, weight.detach().view(shape))
    return y if bias is None else y + bias.detach().view(shape)


def _layer_norm(x: Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    dims = tuple(range(-len(shape), 0))
    return _gained(_normalised(x, dims, eps), weight, bias, list(shape))


def _rms_norm(x: Tensor, shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return _gained(_normalised(x, tuple(range(-len(shape), 0)), eps, centre=False), weight, None, list(shape))


def _channel_shape(x: Tensor) -> list[int]:
    return [1, x.shape[1]] + [1] * (x.ndim - 2)


def _batch_norm(
    x: Tensor, mean: Any, var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float | None = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Batch statistics are taken as constants: the metric of a sample does not reach into its neighbours."""
    shape = _channel_shape(x)
    x0 = x.detach()
    if training or mean is None:
        dims = [d for d in range(x.ndim) if d != 1]
        mean, var = x0.mean(dims), x0.var(dims, unbiased=False)
    scale = (var + eps).rsqrt().view(shape)
    y = _product(x - mean.view(shape), scale)
    return _gained(y, weight, bias, shape)


def _group_norm(x: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    y = _normalised(x.reshape(x.shape[0], groups, -1), (-1,), eps).reshape(x.shape)
    return _gained(y, weight, bias, _channel_shape(x))


def _instance_norm(
    x: Tensor, mean: Any = None, var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    if not use_input_stats:
        return _batch_norm(x, mean, var, weight, bias, False, momentum, eps)
    return _group_norm(x, x.shape[1], weight, bias, eps)


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    mask = F.dropout(torch.ones_like(x), p, training)
    return _product(x, mask)


def _bilinear(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    products = _product(x1.unsqueeze(-1), x2.unsqueeze(-2)).flatten(-2)
    return _weighted(F.linear)(products, weight.flatten(1), bias)


def _prelu(x: Tensor, weight: Tensor) -> Tensor:
    return _Elementwise.apply(x, lambda leaf: F.prelu(leaf, weight.detach()))  # type: ignore[no-any-return]


_SQUARED: dict[Any, Callable[..., Any]] = {}
_op: Any
for _op in (F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d):
    _SQUARED[_op] = _weighted(_op)
for _name in (
    "tanh sigmoid gelu silu elu leaky_relu selu celu softplus softsign hardtanh hardsigmoid hardswish mish relu6 "
    "logsigmoid tanhshrink softshrink hardshrink threshold rrelu"
).split():
    _SQUARED[getattr(F, _name)] = _elementwise(getattr(F, _name))
for _name in "tanh sigmoid exp log sqrt square abs sin cos log1p erf".split():
    for _home in (torch, Tensor):
        _SQUARED[getattr(_home, _name)] = _elementwise(getattr(torch, _name))
for _op in (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.multiply):
    _SQUARED[_op] = _product
for _op in (torch.div, Tensor.div, Tensor.__truediv__):
    _SQUARED[_op] = _quotient
for _op in (torch.sub, Tensor.sub, Tensor.__sub__):
    _SQUARED[_op] = _difference
_SQUARED[Tensor.__rsub__] = lambda right, left: _difference(left, right)
for _op in (torch.neg, Tensor.neg, Tensor.__neg__):
    _SQUARED[_op] = _negative
for _op in (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.mm, Tensor.mm):
    _SQUARED[_op] = _matmul
for _op in (torch.mean, Tensor.mean):
    _SQUARED[_op] = _mean
for _op in (torch.softmax, Tensor.softmax, F.softmax):
    _SQUARED[_op] = _softmax
for _op in (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
           F.adaptive_avg_pool3d):  # fmt: skip
    _SQUARED[_op] = _averaging(_op)
_SQUARED |= {
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.batch_norm: _batch_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    F.dropout: _dropout,
    F.bilinear: _bilinear,
    F.prelu: _prelu,
}

_OWN_SQUARE = set(
    """relu relu_ max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
    max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d embedding pad reshape view
    view_as flatten unflatten ravel permute transpose t T mT movedim swapaxes squeeze unsqueeze expand expand_as
    repeat contiguous clone cat concat stack chunk split unbind select narrow index_select gather flip roll unfold
    getitem add __add__ __radd__ __iadd__ add_ sum where masked_fill masked_fill_ max amax min amin clamp clamp_min
    detach requires_grad_ to float double half type_as size dim numel shape __get__ ndim dtype device is_floating_point
    requires_grad grad_fn __len__ new_zeros zeros_like ones_like new_ones new_full full_like empty_like boolean_dispatch
    is_cuda layout storage_offset stride register_hook item tolist triu tril cpu cuda __gt__ __lt__ __ge__ __le__
    __eq__ eq gt lt ge le ne __ne__ logical_not logical_and __and__ __or__ __invert__ argmax argmin hardtanh_ all any
    flatten_parameters is_contiguous is_sparse is_nested is_quantized names __hash__ interpolate upsample
    _is_all_true has_names""".split()
)


class _Squares(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        squared = _SQUARED.get(func)
        if squared is not None:
            return squared(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        result = func(*args, **kwargs)
        if name.strip("_") in _OWN_SQUARE or name in _OWN_SQUARE:
            return result
        if isinstance(result, Tensor) and result.requires_grad and not result.is_leaf:
            where = resolve_name(func) or name
            raise UnsupportedOperation(
                f"metric='backpropagated' cannot be carried through {where}: its squared derivatives are not known. "
                "Use metric='monte-carlo'."
            )
        return result


def squared_derivatives() -> TorchFunctionMode:
    """A context in which backward passes carry squares.

    >>> x = torch.ones(1, 2, requires_grad=True)
    >>> with squared_derivatives():
    ...     y = F.linear(x, torch.tensor([[2.0, 3.0]]))
    >>> torch.autograd.grad(y.sum(), x)[0]
    tensor([[4., 9.]])
    """
    return _Squares()
