"""What each layer does to undo a code on its inputs, or to emit one from its units.

``absorb`` returns the new parameters without writing them; ``emit`` writes. A new layer is one case in each.

Shape letters: ``k`` unit, ``i`` input, ``g`` group of channels, ``s`` place in the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from isotrain.lab.codes import Code, NoCode

if TYPE_CHECKING:
    from isotrain.lab.rewrite import Plan, UnitCode

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm)

Written = list[tuple[Tensor, Tensor]]


def absorb(module: nn.Module, code: Code, plan: Plan) -> Written:
    """New parameters of a layer whose inputs are recoded, as pairs (parameter, new value).

    Raises:
        NoCode: the layer cannot undo the code exactly.
    """
    if isinstance(module, nn.Linear):
        return _absorb_matrix([(module.weight, module.bias)], code, -1, plan)
    if isinstance(module, CONVOLUTIONS):
        return _absorb_convolution(module, code, plan)
    assert isinstance(module, RECURRENT)
    suffixes = ("", "_reverse") if module.bidirectional else ("",)
    pairs = [
        (getattr(module, f"weight_ih_l0{s}"), getattr(module, f"bias_ih_l0{s}") if module.bias else None)
        for s in suffixes
    ]
    return _absorb_matrix(pairs, code, -1, plan)


def _absorb_matrix(pairs: list[tuple[Tensor, Tensor | None]], code: Code, axis: int, plan: Plan) -> Written:
    written: Written = []
    for weight_ki, bias_k in pairs:
        new_ki, moved_k = undo(weight_ki, code, axis, plan)
        written += [(weight_ki, new_ki), *_new_bias(bias_k, moved_k)]
    return written


def _absorb_convolution(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, code: Code, plan: Plan) -> Written:
    axis = -len(module.kernel_size) - 1
    padded = module.padding == "same" or (module.padding != "valid" and any(int(p) > 0 for p in module.padding))
    if (
        padded
        and module.padding_mode == "zeros"
        and (code.shifted or (code.label is not None and plan.offset_f is not None))
    ):
        raise NoCode(
            "it pads with zeros, and the code does not map 0 to 0 (padding_mode='replicate' would be rewritable)"
        )
    weight_kis = module.weight.flatten(2)
    if module.groups > 1:
        if code.reordered:
            raise NoCode("its channels are in groups, which cannot be mixed or reordered")
        scale_i, shift_i = code.vector(axis)
        scale_gi, shift_gi = scale_i.view(module.groups, -1), shift_i.view(module.groups, -1)
        weight_gkis = weight_kis.view(module.groups, -1, *weight_kis.shape[1:])
        new_gkis = weight_gkis / scale_gi[:, None, :, None]
        moved_k = -(new_gkis * shift_gi[:, None, :, None]).sum((-1, -2)).flatten()
        new_kis = new_gkis.flatten(0, 1)
    else:
        new_ksi, moved_ks = undo(weight_kis.transpose(1, 2), code, axis, plan)
        new_kis, moved_k = new_ksi.transpose(1, 2), moved_ks.sum(-1)
    return [(module.weight, new_kis.reshape(module.weight.shape)), *_new_bias(module.bias, moved_k)]


def undo(weight: Tensor, code: Code, axis: int, plan: Plan) -> tuple[Tensor, Tensor]:
    """Weights ``[..., i]`` that read recoded inputs as the old ones read the old, and what the bias must add.

    >>> code = Code.plain(torch.zeros(1, 2)).affine(-1.0, 1.0)  # x -> 1 - x
    >>> undo(torch.tensor([[2.0, 3.0]], dtype=torch.float64), code, -1, None)
    (tensor([[-2., -3.]], dtype=torch.float64), tensor([5.], dtype=torch.float64))
    """
    if code.label is not None:
        assert plan.mixing_ff is not None
        assert plan.offset_f is not None
        label_i = code.labels_along(axis, plan.offset_f.numel())
        mixing_ij = plan.mixing_ff[label_i][:, label_i]
        new = torch.linalg.solve(mixing_ij, weight, left=False)
        return new, -(new @ plan.offset_f[label_i])
    if code.order is not None:
        weight = weight[..., code.order_along(axis)]
    scale_i, shift_i = code.vector(axis)
    new = weight / scale_i
    return new, -(new * shift_i).sum(-1)


def _new_bias(bias_k: Tensor | None, moved_k: Tensor) -> Written:
    if bias_k is not None:
        return [(bias_k, bias_k + moved_k)]
    if bool((moved_k != 0).any()):
        raise NoCode("it has no bias to take up a shift of its inputs")
    return []


def units(module: nn.Module) -> int:
    """How many units a writer has; 0 when it has no parameter to write with.

    >>> units(nn.Linear(3, 5)), units(nn.LayerNorm(4)), units(nn.ReLU())
    (5, 4, 0)
    """
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, CONVOLUTIONS):
        return module.out_channels
    weight = getattr(module, "weight", None)
    return weight.numel() if isinstance(module, NORMS) and isinstance(weight, Tensor) and weight.dim() == 1 else 0


def unit_axis(module: nn.Module, value: Tensor) -> int:
    """Where the units of a writer are in its output."""
    if isinstance(module, CONVOLUTIONS):
        return value.dim() - len(module.kernel_size) - 1
    return value.dim() - 1 if isinstance(module, nn.Linear | nn.LayerNorm) else 1


def emitted(module: nn.Module, value: Tensor, unit: UnitCode) -> Code:
    """The code of a writer's output once it has been rewritten by `emit`."""
    axis = unit_axis(module, value)
    shape = [1] * value.dim()
    shape[axis] = -1
    code = Code.plain(value).affine(unit.scale_k.view(shape), 0.0)
    if unit.order_k is None:
        return code
    if isinstance(module, NORMS):
        raise NoCode("the units of a normalisation are those of the layer before it")
    if isinstance(module, CONVOLUTIONS) and module.groups > 1:
        raise NoCode("its channels are in groups, which cannot be reordered")
    ids = torch.arange(value.numel(), device=value.device).view(value.shape)
    return Code(code.scale, code.shift, ids.index_select(axis, unit.order_k))


def emit(module: nn.Module, unit: UnitCode) -> None:
    """Rewrite a writer so that its units come out scaled and in another order."""
    for name in ("weight", "bias"):
        parameter = getattr(module, name, None)
        if parameter is None:
            continue
        new = parameter if unit.order_k is None else parameter[unit.order_k]
        parameter.copy_(new * unit.scale_k.view(-1, *[1] * (parameter.dim() - 1)))


def reorder(module: nn.Module, order_k: Tensor) -> None:
    """Put the gains, offsets and running statistics of a batch normalisation in another order."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = getattr(module, name, None)
        if tensor is not None:
            tensor.copy_(tensor[order_k].clone())
