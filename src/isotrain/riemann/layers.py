"""Adapters: how each layer of torch.nn is written as units. One function per kind of layer.

An adapter says, once, which slices of which parameters are whose incoming weights (`units`), and, at
every call in a look, how inputs and errors of the call become [g,n,s,i] and [g,n,s,k] (`sight`).
To add a layer, write the two functions and add one row to ADAPTERS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.local import LocallyConnected2d
from isotrain.riemann.sharednorm import group_of, normalised
from isotrain.riemann.units import Bias, Part, Sighting, Units

Sight = Callable[[nn.Module, list[Units], tuple[Any, ...], Tensor], list[Sighting]]


@dataclass(frozen=True)
class Adapter:
    """The two functions of a kind of layer."""

    units: Callable[[str, Any], list[Units]]
    sight: Callable[[Any, list[Units], tuple[Any, ...], Tensor], list[Sighting]]


def dense(weight: Tensor, rows: tuple[int, int] | None = None) -> Part:
    """A weight whose first dimension is the units and whose others are the inputs."""
    k = weight.shape[0] if rows is None else rows[1] - rows[0]
    return Part(cast(nn.Parameter, weight), (1, k, weight[0].numel()), (0, 1, 2), rows)


def whole_bias(bias: Tensor | None, groups: int = 1) -> Bias | None:
    """The whole of a bias, or None."""
    return None if bias is None else Bias(cast(nn.Parameter, bias), groups)


def samples_places(x: Tensor) -> Tensor:
    """[n, ..., f] as [1, n, s, f]; a vector is one sample.

    >>> import torch
    >>> samples_places(torch.zeros(5, 2, 3, 7)).shape
    torch.Size([1, 5, 6, 7])
    """
    if x.ndim == 1:
        return x.reshape(1, 1, 1, -1)
    return x.reshape(1, x.shape[0], -1, x.shape[-1])


# --- dense layers -----------------------------------------------------------------------------------


def linear_units(name: str, layer: nn.Linear) -> list[Units]:
    """One unit an output feature."""
    return [Units(name, "", (dense(layer.weight),), whole_bias(layer.bias))]


def linear_sight(layer: nn.Linear, units: list[Units], args: tuple[Any, ...], out: Tensor) -> list[Sighting]:
    """Every dimension between the first and the last is a place."""
    x = args[0].detach()
    return [Sighting(units[0], out, lambda: samples_places(x), samples_places)]


def bilinear_units(name: str, layer: nn.Bilinear) -> list[Units]:
    """The inputs are the products of the two inputs."""
    return [Units(name, "", (dense(layer.weight),), whole_bias(layer.bias))]


def bilinear_sight(layer: nn.Bilinear, units: list[Units], args: tuple[Any, ...], out: Tensor) -> list[Sighting]:
    """Products x1_i x2_j in the order of the weight's last two dimensions."""
    x1, x2 = args[0].detach(), args[1].detach()
    return [
        Sighting(
            units[0], out, lambda: samples_places((x1.unsqueeze(-1) * x2.unsqueeze(-2)).flatten(-2)), samples_places
        )
    ]


def embedding_units(name: str, layer: nn.Embedding) -> list[Units]:
    """Inputs are one-hot rows; units are the columns."""
    rows, columns = layer.weight.shape
    return [
        Units(name, "", (Part(cast(nn.Parameter, layer.weight), (1, rows, columns), (0, 2, 1)),), None, one_hot=True)
    ]


def embedding_sight(layer: nn.Embedding, units: list[Units], args: tuple[Any, ...], out: Tensor) -> list[Sighting]:
    """Indices stay indices: [n,s]."""
    index = args[0].reshape(args[0].shape[0] if args[0].ndim else 1, -1)
    return [Sighting(units[0], out, lambda: index, samples_places)]


# --- convolutions -----------------------------------------------------------------------------------


def windows(x: Tensor, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """[n,c,*places] cut into windows: [n, places, c, window], any number of dimensions.

    >>> import torch
    >>> windows(torch.arange(4.0).view(1, 1, 4), (2,), (1,), (1,)).flatten(1).tolist()
    [[0.0, 1.0, 1.0, 2.0, 2.0, 3.0]]
    """
    d = len(size)
    for axis in range(d):
        x = x.unfold(2 + axis, dilation[axis] * (size[axis] - 1) + 1, stride[axis])
        x = x[..., :: dilation[axis]]
    n, c = x.shape[:2]
    places = x.shape[2 : 2 + d]
    order = (0, *range(2, 2 + d), 1, *range(2 + d, 2 + 2 * d))
    return x.permute(order).reshape(n, places.numel(), c, -1)


def _grouped(patches_nscw: Tensor, groups: int) -> Tensor:
    """[n,s,c,w] to [g,n,s,i] with i = (channel of the group, window)."""
    n, s, c, w = patches_nscw.shape
    return patches_nscw.reshape(n, s, groups, c // groups * w).permute(2, 0, 1, 3)


def _channels(groups: int, dims: int) -> Callable[[Tensor], Tensor]:
    """[n,c,*places] to [g,n,s,k]; an unbatched [c,*places] is one sample."""

    def arrange(y: Tensor) -> Tensor:
        if y.ndim == dims + 1:
            y = y.unsqueeze(0)
        n, c = y.shape[:2]
        return y.reshape(n, groups, c // groups, -1).permute(1, 0, 3, 2)

    return arrange


Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
ConvTranspose = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def conv_units(name: str, layer: Conv) -> list[Units]:
    """One unit an output channel; its inputs are a window of the channels of its group."""
    g, w = layer.groups, layer.weight
    part = Part(cast(nn.Parameter, w), (g, w.shape[0] // g, w[0].numel()), (0, 1, 2))
    return [Units(name, "", (part,), whole_bias(layer.bias, g), spatial=True)]


def conv_sight(layer: Conv, units: list[Units], args: tuple[Any, ...], out: Tensor) -> list[Sighting]:
    """Windows of the padded input."""
    x = args[0].detach()

    def inputs() -> Tensor:
        batch = x if x.ndim == layer.weight.ndim else x.unsqueeze(0)
        pad = layer._reversed_padding_repeated_twice
        if any(pad):
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            batch = F.pad(batch, pad, mode=mode)
        return _grouped(
            windows(batch, layer.kernel_size, cast(Any, layer.stride), cast(Any, layer.dilation)), layer.groups
        )

    def respond(delta_gki: Tensor, delta0_gk: Tensor | None) -> Tensor:
        weight = units[0].parts[0].place(delta_gki, layer.weight)
        bias = None if delta0_gk is None else delta0_gk.reshape(-1)
        return arrange(layer._conv_forward(x.to(weight), weight, bias))

    arrange = _channels(layer.groups, layer.weight.ndim - 2)
    return [Sighting(units[0], out, inputs, arrange, respond=respond)]


def conv_transpose_units(name: str, layer: ConvTranspose) -> list[Units]:
    """One unit an output channel; weights are stored [inputs, units, window]."""
    g, w = layer.groups, layer.weight
    part = Part(cast(nn.Parameter, w), (g, w.shape[0] // g, w.shape[1], w[0, 0].numel()), (0, 2, 1, 3))
    return [Units(name, "", (part,), whole_bias(layer.bias, g), spatial=True)]


def conv_transpose_sight(
    layer: ConvTranspose, units: list[Units], args: tuple[Any, ...], out: Tensor
) -> list[Sighting]:
    """Windows of the input with zeros between its entries, mirrored to the weight's order."""
    x = args[0].detach()
    d = layer.weight.ndim - 2
    spatial = out.shape[-d:]

    def inputs() -> Tensor:
        batch = x if x.ndim == layer.weight.ndim else x.unsqueeze(0)
        stride, dilation, size = layer.stride, layer.dilation, layer.kernel_size
        padding = cast(tuple[int, ...], layer.padding)
        spread = batch.new_zeros(
            *batch.shape[:2], *((n - 1) * s + 1 for n, s in zip(batch.shape[2:], stride, strict=True))
        )
        spread[(slice(None), slice(None), *(slice(None, None, s) for s in stride))] = batch
        pad: list[int] = []
        for axis in reversed(range(d)):
            reach = dilation[axis] * (size[axis] - 1)
            left = reach - padding[axis]
            pad += [left, spatial[axis] + reach - left - spread.shape[2 + axis]]
        cut = windows(F.pad(spread, pad), size, (1,) * d, dilation)
        return _grouped(cut.flip(-1), layer.groups)

    return [Sighting(units[0], out, inputs, _channels(layer.groups, d))]


# --- norms: every channel is a group with one unit and one input, the normalised activity -----------


def _gain(name: str, weight: nn.Parameter | None, bias: nn.Parameter | None) -> list[Units]:
    if weight is None:
        return []
    c = weight.numel()
    return [Units(name, "", (Part(weight, (c, 1, 1), (0, 1, 2)),), whole_bias(bias, c), spatial=True)]


def norm_units(name: str, layer: Any) -> list[Units]:
    """A gain and a shift for every channel; nothing when the norm has no parameters."""
    return _gain(name, layer.weight, getattr(layer, "bias", None))


def _norm_sight(normalise: Callable[[Any, Tensor], Tensor], last: bool) -> Any:
    """Sight of a norm whose channels are the last dimensions (`last`) or dimension 1."""

    def sight(layer: Any, units: list[Units], args: tuple[Any, ...], out: Tensor) -> list[Sighting]:
        x = args[0].detach()
        channels = layer.weight.numel()

        def arrange(y: Tensor) -> Tensor:
            if last:
                head = y.shape[: y.ndim - layer.weight.ndim]
                flat = y.reshape(head[0] if head else 1, -1, channels)
                return flat.permute(2, 0, 1).unsqueeze(-1)
            return y.reshape(y.shape[0], channels, -1).permute(1, 0, 2).unsqueeze(-1)

        return [Sighting(units[0], out, lambda: arrange(normalise(layer, x)), arrange)]

    return sight


def _batch_norm(layer: Any, x: Tensor) -> Tensor:
    if layer.training or layer.running_mean is None:
        group = group_of(layer) if layer.training else None
        if group is not None:
            return normalised(x, layer.eps, group)[0]
        return F.batch_norm(x, None, None, training=True, eps=layer.eps)
    return F.batch_norm(x, layer.running_mean, layer.running_var, eps=layer.eps)


def _instance_norm(layer: Any, x: Tensor) -> Tensor:
    own = layer.training or not layer.track_running_stats
    if own:
        return F.instance_norm(x, eps=layer.eps)
    return F.batch_norm(x, layer.running_mean, layer.running_var, eps=layer.eps)


batch_norm_sight = _norm_sight(_batch_norm, last=False)
instance_norm_sight = _norm_sight(_instance_norm, last=False)
group_norm_sight = _norm_sight(lambda m, x: F.group_norm(x, m.num_groups, eps=m.eps), last=False)
layer_norm_sight = _norm_sight(lambda m, x: F.layer_norm(x, m.normalized_shape, eps=m.eps), last=True)
rms_norm_sight = _norm_sight(lambda m, x: F.rms_norm(x, m.normalized_shape, eps=m.eps), last=True)


def prelu_units(name: str, layer: nn.PReLU) -> list[Units]:
    """The slope of a channel is a weight on min(0, x)."""
    return _gain(name, layer.weight, None)


def prelu_sight(layer: nn.PReLU, units: list[Units], args: tuple[Any, ...], out: Tensor) -> list[Sighting]:
    """One slope for each channel, or one for all."""
    x = args[0].detach()
    channels = layer.weight.numel()

    def arrange(y: Tensor) -> Tensor:
        per_channel = y.reshape(y.shape[0], channels, -1) if channels > 1 else y.reshape(y.shape[0], 1, -1)
        return per_channel.permute(1, 0, 2).unsqueeze(-1)

    return [Sighting(units[0], out, lambda: arrange(x.clamp_max(0)), arrange)]


def local_units(name: str, layer: LocallyConnected2d) -> list[Units]:
    """Every place is a group: its channels are units of their own, and see its window alone."""
    g, k, i = layer.weight.shape
    return [Units(name, "", (Part(layer.weight, (g, k, i), (0, 1, 2)),), whole_bias(layer.bias, g), spatial=True)]


def local_sight(layer: LocallyConnected2d, units: list[Units], args: tuple[Any, ...], out: Tensor) -> list[Sighting]:
    """The window of each place: one a sample, as the places share no weight."""
    x = args[0].detach()
    return [
        Sighting(
            units[0],
            out,
            lambda: layer.windows(x)[:, :, None],
            lambda y_nchw: y_nchw.flatten(2).permute(2, 0, 1)[:, :, None],
        )
    ]


_conv = Adapter(conv_units, conv_sight)
_conv_transpose = Adapter(conv_transpose_units, conv_transpose_sight)
_batch = Adapter(norm_units, batch_norm_sight)
_instance = Adapter(norm_units, instance_norm_sight)

ADAPTERS: dict[type[nn.Module], Adapter] = {
    nn.Linear: Adapter(linear_units, linear_sight),
    nn.Bilinear: Adapter(bilinear_units, bilinear_sight),
    nn.Embedding: Adapter(embedding_units, embedding_sight),
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.Conv3d: _conv,
    nn.ConvTranspose1d: _conv_transpose,
    nn.ConvTranspose2d: _conv_transpose,
    nn.ConvTranspose3d: _conv_transpose,
    LocallyConnected2d: Adapter(local_units, local_sight),
    nn.BatchNorm1d: _batch,
    nn.BatchNorm2d: _batch,
    nn.BatchNorm3d: _batch,
    nn.SyncBatchNorm: _batch,
    nn.InstanceNorm1d: _instance,
    nn.InstanceNorm2d: _instance,
    nn.InstanceNorm3d: _instance,
    nn.GroupNorm: Adapter(norm_units, group_norm_sight),
    nn.LayerNorm: Adapter(norm_units, layer_norm_sight),
    nn.RMSNorm: Adapter(norm_units, rms_norm_sight),
    nn.PReLU: Adapter(prelu_units, prelu_sight),
}


def adapter_of(layer: nn.Module) -> Adapter | None:
    """The adapter of a layer: of its own type, or of the nearest type it inherits from."""
    for kind in type(layer).__mro__:
        if kind in ADAPTERS:
            return ADAPTERS[kind]
    return None
