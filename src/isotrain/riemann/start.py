"""Initial weights that do not depend on coordinates either.

The usual draws look at the shape of a layer and at nothing else, so inverted pictures, raw features in units of
their own or another activation begin as another function, often a saturated one. Here every layer, in the order of
execution, is drawn in standardised coordinates of the inputs it really has, and every unit is brought to the middle
of its working range: one function, however it is written.

Letters: units.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.errors import BadOption, NotFinite, UnsupportedLayer
from isotrain.riemann.follow import Follower, Function
from isotrain.riemann.layers import Conv, ConvTranspose
from isotrain.riemann.observe import undisturbed, units_of
from isotrain.riemann.record import innermost, tensors
from isotrain.riemann.recurrent import CELLS, RECURRENT

CURVED = 0.01
"""How curved an activation is within the spread of its inputs: a tanh with inputs that deviate by .42."""
LAST = 0.3
"""Spread of the model's outputs."""
BRANCH = 0.25
"""Spread of a layer without an activation, in whose place there is a sum as a rule: of a residual branch."""
STRAIGHT = 1e-9
"""An activation that bends less is none."""
STEPS = 60
"""Halvings of an interval of the logarithm: to the last digit."""

NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.InstanceNorm1d, nn.InstanceNorm2d,
    nn.InstanceNorm3d, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm,
)  # fmt: skip


@dataclass(frozen=True)
class Started:
    """What was done to one layer.

    Attributes:
        name: the layer.
        spread: deviation of its outputs on the inputs given; None where it was left as it was or has no such aim.
        note: why it was left, or what was done instead.
    """

    name: str
    spread: float | None
    note: str = ""


def start(model: nn.Module, inputs: Any, seed: int = 0) -> list[Started]:
    """Give a model initial weights that suit its inputs, and do not depend on how inputs or activations are coded.

    Call it once, before training, with a few hundred samples as they come, unscaled. Weights of dense layers and
    convolutions are drawn from a normal law in standardised coordinates: an input counts by its deviation, less if it
    is rarely lit (`E d**4 / (E d**2)**1.5`), and with the sign of its skewness, so that a mirrored input gets the same
    draw. Then each unit's output is brought to mean 0 and to a spread that suits the activation after it
    (`working_spread`). Gains of norms before an activation take that spread, recurrent layers take torch's own draw in
    standardised coordinates of their inputs. Anything else stays as it is, and the answer says so.

    With `isotrain.Riemannian` the whole run is then the same for any input-inversion, input-scale, input-affine,
    sigmoid and scaled-tanh (docs/start.md says where it is not: zero padding, layers without bias).

    Args:
        model: any module.
        inputs: what the model is called with: a tensor, a tuple of arguments, or a mapping of keywords.
        seed: draws the weights.

    Returns:
        What was done, in the order of execution.

    Raises:
        BadOption: the model is wrapped in DistributedDataParallel already.
        NotFinite: a layer's inputs have a NaN or an infinity.
        UnsupportedLayer: there is no layer to start.

    Sources: LeCun et al. 1998, "Efficient BackProp" (sections 4.3-4.6); Mishkin and Matas 2016 (layer by layer).

    >>> x = torch.rand(100, 3, dtype=torch.float64) * torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)
    >>> plain = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    >>> other = nn.Sequential(nn.Linear(3, 8), nn.Sigmoid(), nn.Linear(8, 2)).double()
    >>> [layer.name for layer in start(plain, x)], len(start(other, 1 - x / 7))
    (['0', '2'], 2)
    >>> torch.allclose(plain(x), other(1 - x / 7), atol=1e-12)
    True
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise BadOption(
            "the model is wrapped in DistributedDataParallel, whose processes would start apart: start first."
        )
    root = innermost(model)
    names = {module: name or "model" for name, module in root.named_modules()}
    shared = {p for p, uses in Counter(p for m in names for p in m.parameters(recurse=False)).items() if uses > 1}
    left = {m: why for m in names if any(True for _ in m.parameters(recurse=False)) and (why := _why_left(m, shared))}
    gpus = sorted({p.get_device() for p in root.parameters() if p.is_cuda})
    with torch.no_grad(), ExitStack() as stack:
        stack.enter_context(undisturbed(root))
        stack.enter_context(torch.random.fork_rng(gpus))
        torch.manual_seed(seed)
        for module in names:  # no dropout: it is not part of what a unit responds with
            module.training = isinstance(module, NORMS)
        begun = _Start(names, left, _spreads(root, names, inputs), torch.Generator().manual_seed(seed))
        begun.run(root, inputs)
    if not begun.done:
        raise UnsupportedLayer(
            f"there is nothing to start in {type(root).__name__}: no dense or convolutional layer that is called, has "
            "weights of its own, and is not frozen. Leave isotrain.start out."
        )
    never = {m: Started(names[m], None, "never called") for m in names if _kind(m) and m not in begun.done | left}
    return [*begun.done.values(), *(Started(names[m], None, why) for m, why in left.items()), *never.values()]


def working_spread(function: Function) -> float | None:
    """The deviation of inputs, around 0, within which an activation bends as much as it should at the start.

    Counts what bends in the odd part `o` of the function, which is what saturates: `1 - corr(u, o(spread u))**2` for
    normal `u`. None where that never reaches CURVED, as for ReLU, GELU and SiLU, whose odd part is a straight line.

    >>> [spread and round(spread, 3) for spread in map(working_spread, (torch.tanh, torch.sigmoid, torch.relu))]
    [0.423, 0.846, None]
    """

    def excess(at: float) -> float:
        y = function(NORMAL * math.exp(at)).double()
        return _bent(y - y.flip(0)) - CURVED

    grid = [math.log(10) * place / 4 for place in range(-32, 33)]
    for low, high in pairwise(grid):
        if excess(low) < 0 <= excess(high):
            for _ in range(STEPS):
                middle = (low + high) / 2
                low, high = (middle, high) if excess(middle) < 0 else (low, middle)
            return math.exp(low)
    return None


NORMAL = torch.linspace(-6, 6, 4001, dtype=torch.float64)


def _bent(y: Tensor) -> float:
    """1 less the squared correlation of a function's values at NORMAL with its argument; NaN for a constant."""
    p = torch.exp(-NORMAL.square() / 2)
    p = p / p.sum()
    y = y - (p * y).sum()
    across, square = float((p * NORMAL * y).sum()), float((p * y * y).sum()) * float((p * NORMAL * NORMAL).sum())
    return 1 - across * across / square if 0 < square < math.inf else math.nan


def _straight(function: Function | None) -> bool:
    """Whether it is no activation: none at all, or one that does not bend (dropout, when evaluated)."""
    return function is None or abs(_bent(function(NORMAL).double())) < STRAIGHT


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Linear | Conv | ConvTranspose):
        return "reader"
    if isinstance(module, NORMS):
        return "norm"
    return "recurrent" if isinstance(module, (*RECURRENT, *CELLS)) else ""


def _why_left(module: nn.Module, shared: set[nn.Parameter]) -> str:
    own = list(module.parameters(recurse=False))
    if not _kind(module):
        return f"{type(module).__name__} stays as it is"
    if units_of("", module) is None:
        return "has a forward or a weight of its own making"
    if shared.intersection(own):
        return "shares its weights"
    return "" if all(p.requires_grad for p in own) else "frozen"


def _spreads(root: nn.Module, names: Mapping[nn.Module, str], inputs: Any) -> dict[nn.Module, float | None]:
    """What each layer's outputs should deviate by, from what becomes of them in a forward pass."""
    follower = Follower()

    def began(module: nn.Module, args: Any, output: Any) -> None:
        follower.begin(module, output, reader=_kind(module) == "reader")

    with ExitStack() as hooks:
        for module in names:
            if _kind(module) in ("reader", "norm"):
                hooks.callback(module.register_forward_hook(began).remove)
        with follower:
            outputs = tensors(_called(root, inputs))
    last = follower.last(outputs)
    found: dict[nn.Module, float | None] = {}
    for module in names:
        function = follower.activation(module)
        spread = None if function is None else working_spread(function)
        if _kind(module) == "norm":
            found[module] = spread
        elif module in last:
            found[module] = LAST
        else:
            found[module] = spread or (BRANCH if _straight(function) else 1.0)
    return found


def _called(root: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return root(**inputs)
    return root(*inputs) if isinstance(inputs, tuple) else root(inputs)


@dataclass
class _Start:
    """Sets every layer when it is first called in a forward pass, so that the next one has its real inputs."""

    names: Mapping[nn.Module, str]
    left: Mapping[nn.Module, str]
    spreads: Mapping[nn.Module, float | None]
    generator: torch.Generator

    def __post_init__(self) -> None:
        self.done: dict[nn.Module, Started] = {}

    def run(self, root: nn.Module, inputs: Any) -> None:
        setters: dict[str, Callable[..., None]] = {"reader": self._read, "norm": self._gain, "recurrent": self._recur}
        with ExitStack() as hooks:
            for module in self.names:
                if _kind(module) and module not in self.left:
                    hook = partial(self._first, setters[_kind(module)])
                    hooks.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            _called(root, inputs)

    def _first(self, setter: Callable[..., None], module: nn.Module, args: Any, kwargs: Any) -> None:
        if module not in self.done and any(True for _ in module.parameters(recurse=False)):
            setter(module, args, kwargs)

    def _gain(self, module: Any, args: Any, kwargs: Any) -> None:
        spread = self.spreads[module]
        if spread is None:
            self.done[module] = Started(self.names[module], None, "no activation that bends follows")
            return
        module.weight.fill_(spread)
        if getattr(module, "bias", None) is not None:
            module.bias.zero_()
        self.done[module] = Started(self.names[module], spread)

    def _recur(self, module: Any, args: Any, kwargs: Any) -> None:
        x = args[0] if args else kwargs["input"]
        mean_i, deviation_i, weight_i = self._coordinates(module, getattr(x, "data", x), -1)
        size = (weight_i * deviation_i).square()  # together the inputs drive the units as much as torch means them to
        weight_i = weight_i * ((size > 0).sum() / size.sum().clamp_min(1e-300)).sqrt()
        module.reset_parameters()
        for name in [n for n, _ in module.named_parameters() if n == "weight_ih" or n.startswith("weight_ih_l0")]:
            weight_ki = getattr(module, name)
            weight_ki.copy_(weight_ki * weight_i)
            if module.bias:
                getattr(module, name.replace("weight", "bias")).sub_((weight_ki * mean_i).sum(-1))
        self.done[module] = Started(self.names[module], None, "torch's own draw, for standardised inputs")

    def _read(self, module: Any, args: Any, kwargs: Any) -> None:
        x = args[0] if args else kwargs["input"]
        channels = -1 if isinstance(module, nn.Linear) else x.ndim - module.weight.ndim + 1
        spread = self.spreads[module]
        assert spread is not None
        _, _, weight_c = self._coordinates(module, x, channels)
        part = (units_of("", module) or [])[0].parts[0]
        g, k, i = part.read(module.weight).shape
        weight_gki = weight_c.view(g, 1, -1, 1).expand(g, 1, -1, i * g // len(weight_c)).reshape(g, 1, i)
        draw = torch.randn(module.weight.shape, generator=self.generator, dtype=torch.float64).to(weight_c.device)
        draw_gki = part.read(draw) * weight_gki
        module.weight.copy_(part.place(draw_gki, module.weight))
        if module.bias is not None:
            module.bias.zero_()
        out = type(module).forward(module, *args, **kwargs)
        mean_k, deviation_k = _moments(out, channels)
        scale_k = torch.where(deviation_k > 0, spread / deviation_k, 0)
        module.weight.copy_(part.place(draw_gki * scale_k.view(g, k, 1), module.weight))
        if module.bias is not None:
            module.bias.copy_(-mean_k * scale_k)
        self.done[module] = Started(self.names[module], spread)

    def _coordinates(self, module: nn.Module, x: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and deviation of each input, and what a weight of 1 in standardised coordinates is; 0 for a constant."""
        mean_i, deviation_i = _moments(x, channels)
        if not bool(torch.isfinite(deviation_i).all()):
            raise NotFinite(
                f"the inputs of layer '{self.names[module]}' are not finite: look at the inputs given to start, and "
                "at what the model makes of them."
            )
        d = x.detach().double().movedim(channels, -1).flatten(0, -2) - mean_i
        dust = deviation_i <= 8 * torch.finfo(x.dtype).eps * mean_i.abs()
        d = d / torch.where(dust, torch.inf, deviation_i)
        skew_i = d.pow(3).mean(0)
        sign_i = torch.where(skew_i.abs() > torch.finfo(x.dtype).eps ** 0.5, skew_i, d[0]).sign()
        return mean_i, deviation_i, torch.where(dust, 0, sign_i / (deviation_i * d.pow(4).mean(0)).clamp_min(1e-300))


def _moments(x: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel."""
    flat = x.detach().double().movedim(channels, -1).flatten(0, -2)
    mean_i = flat.mean(0)
    return mean_i, (flat - mean_i).square().mean(0).sqrt()
