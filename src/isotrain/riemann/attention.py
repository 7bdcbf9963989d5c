"""Multi-head attention. The native kernel trains; in a look its twin shows queries, keys, values and output.

Letters: L target length, S source length, E embedding size. The bias of the keys shifts every score of a
query alike, which the softmax ignores: it is left alone unless extra keys are added.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.riemann.layers import dense
from isotrain.riemann.units import Bias, Sighting, Units

Note = Callable[[Sighting], None]


def _keys_need_bias(layer: nn.MultiheadAttention) -> bool:
    return layer.add_zero_attn or layer.bias_k is not None


def attention_units(name: str, layer: nn.MultiheadAttention) -> list[Units]:
    """Queries, keys and values; extra keys and values are units without inputs. The output is a Linear of its own."""
    e = layer.embed_dim
    found: list[Units] = []
    own_bias = cast("Tensor | None", layer.in_proj_bias)
    separate = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
    for place, label in enumerate(("query", "key", "value")):
        rows = (place * e, (place + 1) * e)
        part = dense(layer.in_proj_weight, rows) if layer._qkv_same_embed_dim else dense(separate[place])
        bias = None
        if own_bias is not None and (label != "key" or _keys_need_bias(layer)):
            bias = Bias(cast(nn.Parameter, own_bias), 1, rows)
        found.append(Units(f"{name}.{label}", f"{label}.", (part,), bias))
    for label, extra in (("bias_k", layer.bias_k), ("bias_v", layer.bias_v)):
        if extra is not None:
            found.append(Units(f"{name}.{label}", "", (), Bias(cast(nn.Parameter, extra), 1)))
    return found


def _places(y: Tensor) -> Tensor:
    return y.unsqueeze(0)


def _none(n: int, s: int, like: Tensor) -> Callable[[], Tensor]:
    return lambda: like.new_zeros(1, n, s, 0)


def attention_twin(
    layer: nn.MultiheadAttention,
    units: list[Units],
    note: Note,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The forward of `nn.MultiheadAttention`, same arguments and results."""
    flat = query.ndim == 2
    if flat:
        query, key, value = (x.unsqueeze(0) for x in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    elif not layer.batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    e, heads = layer.embed_dim, layer.num_heads
    n = query.shape[0]
    own_bias = cast("Tensor | None", layer.in_proj_bias)
    separate = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
    projected: list[Tensor] = []
    for place, x in enumerate((query, key, value)):
        rows = slice(place * e, (place + 1) * e)
        weight = layer.in_proj_weight[rows] if layer._qkv_same_embed_dim else separate[place]
        bias = None if own_bias is None else own_bias[rows]
        y = F.linear(x, weight, bias)
        y = y if y.requires_grad else y.detach().requires_grad_()
        note(Sighting(units[place], y, partial(_places, x.detach()), _places))
        projected.append(y)
    q, k, v = projected
    padding = _additive(key_padding_mask, q)
    mask = _additive(attn_mask, q)
    if layer.bias_k is not None and layer.bias_v is not None:
        extra_k, extra_v = (b.expand(n, 1, e).clone() for b in (layer.bias_k, layer.bias_v))
        note(Sighting(units[3], extra_k, _none(n, 1, q), _places))
        note(Sighting(units[4], extra_v, _none(n, 1, q), _places))
        k, v = torch.cat([k, extra_k], 1), torch.cat([v, extra_v], 1)
        mask, padding = _widen(mask), _widen(padding)
    if layer.add_zero_attn:
        k, v = (torch.cat([x, x.new_zeros(n, 1, e)], 1) for x in (k, v))
        mask, padding = _widen(mask), _widen(padding)
    q, k, v = (x.unflatten(-1, (heads, e // heads)).transpose(1, 2) for x in (q, k, v))
    scores = (q * (1 / math.sqrt(e // heads))) @ k.transpose(-1, -2)
    if is_causal and mask is None:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        mask = scores.new_zeros(ahead.shape).masked_fill(ahead, -math.inf)
    if mask is not None:
        scores = scores + (mask.view(n, heads, *mask.shape[1:]) if mask.ndim == 3 else mask)
    if padding is not None:
        scores = scores + padding.view(n, 1, 1, -1)
    attention = F.dropout(scores.softmax(-1), layer.dropout, layer.training)
    mixed = (attention @ v).transpose(1, 2).flatten(2)
    out = layer.out_proj(mixed)
    weights = None
    if need_weights:
        weights = attention.mean(1) if average_attn_weights else attention
    if flat:
        return out.squeeze(0), None if weights is None else weights.squeeze(0)
    return (out if layer.batch_first else out.transpose(0, 1)), weights


def _additive(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A boolean mask (True: may not look) as numbers to add to the scores."""
    if mask is None or mask.is_floating_point():
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -math.inf)


def _widen(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else F.pad(mask, (0, 1))
