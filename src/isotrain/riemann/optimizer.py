"""The optimizer: a torch.optim.Optimizer whose steps do not depend on how the model was written down."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isotrain.errors import BadOption, DegenerateMetric, NoBackward, NotFinite, NotObserved, UnknownName
from isotrain.likelihood import named
from isotrain.likelihood.base import Likelihood
from isotrain.riemann import saved, scaling, steplength
from isotrain.riemann.average import EAGER_STEPS, due, share_of_new
from isotrain.riemann.blocks import Shape, State
from isotrain.riemann.claims import Change, claims
from isotrain.riemann.diagonal import Diagonal
from isotrain.riemann.hooks import watch
from isotrain.riemann.kronecker import Kronecker
from isotrain.riemann.measure import Direction, Fresh, move, refresh
from isotrain.riemann.network import Network
from isotrain.riemann.observe import Recorder, hidden_by_checkpoint, innermost
from isotrain.riemann.plainrule import plain_step
from isotrain.riemann.probes import probe
from isotrain.riemann.quasidiagonal import QuasiDiagonal
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.rows import Rows
from isotrain.riemann.units import Units
from isotrain.riemann.unitwise import Unitwise

SHAPES: dict[str, Shape] = {
    s.name: s for s in (Diagonal(), QuasiDiagonal(), Unitwise(), Kronecker(), Kronecker(full=True))
}
LikelihoodLike = str | Likelihood
_PROGRESS = {"step": 0, "looks": 0, "curvature": 0.0, "loss": 0.0, "first_loss": 0.0}


class Riemannian(Optimizer):
    """Descent in an invariant metric, with a natural step length: nothing to tune.

    Use it like any torch optimizer. It takes the model, not its parameters, because the metric is a
    property of the function: at some steps it looks at the model once more, on the side.

    Args:
        model: the module whose forward gives the predictions (it may be compiled or wrapped in DDP).
        likelihood: what the output means: "categorical" (cross-entropy of logits), "bernoulli" (binary
            cross-entropy of logits), "gaussian" (mean squared error), a Likelihood, or one for each
            output as a dict (by key) or a sequence (by place, None for an output that is not predicted).
        lr: None for the natural step length; a number for the plain rule of the papers. With the natural
            length, `param_groups[i]["lr"]` starts at 1 and multiplies it, for schedulers.
        metric: "outer-product", "monte-carlo", "signs", "exact" or "backpropagated".
        shape: "diagonal", "quasi-diagonal", "unitwise", "kronecker" or "kronecker-full".
        decay: what the moving average of the metric keeps at a refresh. Default 0.95 (plain rule 0.99).
        refresh: steps between two looks (the first 20 steps each take one).
        subsample: share of the batch looked at, never fewer than 16 samples (the first 20 looks: all of it).
        damping: relative, covariant damping. Default 0.1 (plain rule 0).
        momentum: what the moving average of the gradient keeps. Default 0.
        weight_decay: share of every weight and bias removed at a step, times lr (decoupled).
        plain: names of parameters or modules trained by an ordinary rule (Adam), without claims.
        params: parameter groups with options of their own (lr, shape, decay, damping, momentum,
            weight_decay), as dicts with "params"; the layers' weights and biases stay together.
        maximize: ascend instead.
        seed: of the draws of the metric.

    Raises:
        UnsupportedLayer: a trainable parameter belongs to no layer isotrain can observe.
        UnknownName: a likelihood, metric, shape or name in `plain` is not known.
        BadOption: an option is outside its range.

    >>> model = nn.Linear(2, 1)
    >>> optimizer = Riemannian(model, likelihood="gaussian")
    >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> for _ in range(200):
    ...     loss = nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     loss_value = optimizer.step()
    >>> round(model(torch.tensor([[2.0, 3.0]])).item(), 2)
    5.0
    """

    def __init__(
        self,
        model: nn.Module,
        likelihood: LikelihoodLike | Mapping[str, LikelihoodLike] | Sequence[LikelihoodLike | None] = "categorical",
        lr: float | None = None,
        metric: str = "monte-carlo",
        shape: str = "quasi-diagonal",
        decay: float | None = None,
        refresh: int = 10,
        subsample: float = 0.25,
        *,
        damping: float | None = None,
        momentum: float | None = None,
        weight_decay: float = 0.0,
        plain: Iterable[str] = (),
        params: Iterable[dict[str, Any]] | None = None,
        maximize: bool = False,
        seed: int = 0,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise BadOption(
                f"Riemannian needs the model, got {type(model).__name__}: pass Riemannian(model), not model.parameters(). "
                "For groups with options of their own use params=[{'params': ..., 'lr': ...}]."
            )
        self._model = model
        self._root = innermost(model)
        self._likelihoods = _named_likelihoods(likelihood)
        self._probe = probe(metric)
        self._seed = seed
        self._plain_names = tuple(plain)
        self._network = Network(self._root, self._plain_names)
        self._ranks = Ranks(model)
        if refresh < 1 or not 0 < subsample <= 1:
            raise BadOption(f"refresh={refresh!r} must be at least 1 and subsample={subsample!r} in (0, 1].")
        natural = lr is None
        defaults = {
            "lr": 1.0 if lr is None else lr,
            "natural": natural,
            "metric": metric,
            "shape": shape,
            "decay": (0.95 if natural else 0.99) if decay is None else decay,
            "refresh": refresh,
            "subsample": subsample,
            "damping": (0.1 if natural else 0.0) if damping is None else damping,
            "momentum": 0.0 if momentum is None else momentum,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        self._recorder = Recorder(self._root, subsample)
        self._blocks: list[tuple[dict[str, Any], Units]] = []
        super().__init__([{"params": list(self._root.parameters())}] if params is None else list(params), defaults)
        self.param_groups[0].update(_PROGRESS)
        self._arm()

    _step_supports_amp_scaling = True

    def _arm(self) -> None:
        """Hook the model's own forward; unhook when the optimizer goes."""
        self._arrange()
        self._close = weakref.finalize(self, watch(self._root, self._recorder))
        self._expect()

    def _arrange(self) -> None:
        """Which group every block belongs to."""
        group_of = {p: group for group in self.param_groups for p in group["params"]}
        self._blocks = []
        for units in self._network.units:
            groups = [group_of[p] for p in units.parameters if p in group_of]
            if not groups:
                continue
            if units.half_frozen:
                frozen = [self._network.names[p] for p in units.parameters if not p.requires_grad]
                raise BadOption(
                    f"layer '{units.name}' is frozen in part ('{frozen[0]}' has requires_grad=False): a unit moves as "
                    f"one. Freeze all of its parameters or none, or pass plain=['{units.name}']."
                )
            if len(groups) < len(units.parameters) or any(g is not groups[0] for g in groups):
                raise BadOption(
                    f"the weight and bias of layer '{units.name}' are in different parameter groups: a unit moves as "
                    "one. Put all parameters of a layer in one group."
                )
            self._blocks.append((groups[0], units))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group with options of its own; its parameters belong to the model."""
        group = dict(param_group)
        if "lr" in group:
            group.setdefault("natural", False) if group["lr"] is not None else group.update(lr=1.0, natural=True)
        for name in set(group) - {"params", *self.defaults, *_PROGRESS, "initial_lr", "param_names"}:
            raise UnknownName("option", name, self.defaults)
        for name in ("metric", "refresh", "subsample", "maximize"):
            if group.get(name, self.defaults[name]) != self.defaults[name]:
                raise BadOption(
                    f"{name}={group[name]!r} in a parameter group: the metric is the whole model's. Leave it out, or "
                    f"give it to all: Riemannian(model, {name}={group[name]!r})."
                )
        _check_options({**self.defaults, **group})
        super().add_param_group(group)
        try:
            for p in self.param_groups[-1]["params"]:
                if p not in self._network.names:
                    raise BadOption(f"a parameter of shape {tuple(p.shape)} in the group does not belong to the model.")
            if hasattr(self, "_close"):
                self._arrange()
        except BadOption:
            self.param_groups.pop()
            raise
        self._recorder.trainable = None

    def claims(self) -> frozenset[Change]:
        """The changes of variables under which this optimizer makes exactly the same run (docs/claims.md).

        >>> Change.SIGMOID in Riemannian(nn.Linear(2, 3)).claims()
        True
        """
        kept = [claims(g["shape"], g["damping"], bool(self._network.plain)) for g in self.param_groups]
        return frozenset.intersection(*kept)

    def close(self) -> None:
        """Remove the hooks from the model. The optimizer cannot step afterwards."""
        self._close()
        self._recorder.forget()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, and what a skipped step may have left to look at."""
        self._recorder.stale()
        super().zero_grad(set_to_none)

    def _expect(self) -> None:
        """Tell the recorder what the next step needs."""
        self._recorder.due = self._due()
        self._recorder.whole = self.param_groups[0]["step"] < EAGER_STEPS

    def _due(self) -> bool:
        lead = self.param_groups[0]
        return due(lead["step"], lead["refresh"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step. Returns the closure's loss, or None.

        Raises:
            NoBackward: no parameter has a gradient, or the model's forward was not seen.
            NotFinite: a gradient, an activity or the loss is NaN or infinite.
            NotObserved: a layer has a gradient but was not called as a module.
            LikelihoodMismatch, WrongReduction: the loss is not the likelihood's.
            DegenerateMetric: the first batch holds a single sample.

        After an error parameters and state are as before.
        """
        if not self._close.alive:
            raise NotObserved(
                "the optimizer was closed, its hooks are gone from the model: make a new one and give it the old "
                "one's state_dict()."
            )
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        try:
            if not scaling.skipped(self):
                self._step()
        finally:
            self._recorder.forget()
        return loss

    def _step(self) -> None:
        scale = scaling.of_gradients(self)
        if any(units.half_frozen for _, units in self._blocks):
            self._arrange()  # raises, naming the layer that was frozen in part since
        moving = [(group, units) for group, units in self._blocks if units.trained]
        if not moving and not any(p.grad is not None for p in self._network.plain):
            raise NoBackward("step() was called and no parameter has a gradient: call loss.backward() first.")
        self._refuse_strays()
        fresh = self._look(moving, scaling.of_loss(self)) if self._recorder.due and moving else None
        states, momenta, direction, duals = self._propose(moving, fresh, scale)
        progress = self._progress(moving, fresh, states, direction, duals)
        self._require_finite(moving, duals)
        for p in self._network.plain:
            self._require_finite_gradient(p)
        self._apply(moving, states, momenta, direction, duals, progress)
        for group in self.param_groups:
            plain = [p for p in group["params"] if p in self._network.plain and p.grad is not None]
            plain_step(self.state, plain, group, scale)
        self.param_groups[0].update(progress)
        self._expect()
        if fresh is not None:
            self._recorder.trainable = [p.requires_grad for p in self._recorder.parameters]

    def _refuse_strays(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p not in self._network.covered:
                    Network(self._root, self._plain_names)  # raises, naming the layer that was unfrozen since

    def _look(self, moving: list[tuple[dict[str, Any], Units]], scale: float) -> Fresh:
        """Measure this batch; refuse what cannot be measured."""
        lead = self.param_groups[0]
        shapes: dict[Units, Shape] = {}
        for group, units in moving:
            for one in (units, *units.guests):
                shapes[one] = _shape(group, one)
        step = lead["step"]

        def generators(turn: int, device: torch.device) -> torch.Generator:
            key = hash((self._seed, step, turn, self._ranks.rank))
            return torch.Generator(device).manual_seed(key & 0x7FFFFFFFFFFF)

        calls = self._recorder.seen()
        self._ranks.adopt(self._recorder.wrapper)
        fresh = refresh(
            self._root, calls, self._network.layers, shapes, self._probe, self._likelihoods, generators,
            any(group["natural"] for group, _ in moving), self._ranks, scale, -1.0 if lead["maximize"] else 1.0,
        )  # fmt: skip
        if lead["looks"] == 0 and fresh.samples < 2:
            raise DegenerateMetric(
                "the first batch holds 1 sample, which has no spread to measure a metric from: "
                "use at least 2 samples in the first step."
            )
        for _, units in moving:
            if units not in fresh.states and units in fresh.blind:
                raise hidden_by_checkpoint(f" ('{units.name}')")
            if units not in fresh.states:
                raise NotObserved(
                    f"layer '{units.name}' has a gradient but was not seen in the model's forward: its weights are used "
                    "by a function (F.linear(x, layer.weight)) instead of by calling the layer, or the model was called "
                    "through one of its parts. Call the layer and the model themselves, or pass "
                    f"plain=['{units.name}']."
                )
        return fresh

    def _state(self, units: Units) -> State:
        kept = self.state.get(units.anchor, {})
        return {name[len(units.key) :]: t for name, t in kept.items() if name.startswith(units.key)}

    def _propose(
        self, moving: list[tuple[dict[str, Any], Units]], fresh: Fresh | None, scale: float
    ) -> tuple[dict[Units, State], dict[Units, State], Direction, dict[Units, Tensor]]:
        """Metric, averaged gradient, direction and dual norm v'w [g,k] of every block; nothing is changed yet."""
        looks = self.param_groups[0]["looks"]
        states: dict[Units, State] = {}
        momenta: dict[Units, State] = {}
        direction: Direction = {}
        duals: dict[Units, Tensor] = {}
        for group, units in moving:
            sign = -1.0 if group["maximize"] else 1.0
            factor = sign / scale
            shape = _shape(group, units)
            old = self._state(units)
            measured = "spread" in old or "covariance" in old
            state = old
            if fresh is not None:
                past = old if measured else None
                share = share_of_new(looks, group["decay"])
                state = shape.merge(past, fresh.states[units], share, units.bias is not None, group["damping"])
                state = shape.ready(state, group["damping"])
                if "reach" in old:
                    state["reach"] = old["reach"]
            elif not measured:
                self._recorder.due = True
                raise NotObserved(
                    f"layer '{units.name}' has a gradient for the first time between two looks: it was not part of "
                    "the function when the metric was measured. Nothing was changed, the next step takes a look; to "
                    "avoid this error set refresh=1, or let every layer take part from the start."
                )
            v = units.weights(_gradient_times(factor))
            v0 = units.biases(_gradient_times(factor))
            if group["momentum"]:
                v, v0, kept = _averaged(old, v, v0, group["momentum"])
                momenta[units] = kept
            delta, delta0 = shape.solve(state, v, v0)
            dual = torch.einsum("gki,gki->gk", v, delta)
            if v0 is not None and delta0 is not None:
                dual = dual + v0 * delta0
            states[units], direction[units], duals[units] = state, (delta, delta0), dual
        return states, momenta, direction, duals

    def _progress(
        self,
        moving: list[tuple[dict[str, Any], Units]],
        fresh: Fresh | None,
        states: dict[Units, State],
        direction: Direction,
        duals: dict[Units, Tensor],
    ) -> dict[str, Any]:
        """Step count, curvature and loss after this step; writes each block's reach into its proposed state."""
        lead = self.param_groups[0]
        progress = {name: lead[name] for name in _PROGRESS}
        progress["step"] += 1
        natural = {units: group for group, units in moving if group["natural"]}
        if fresh is None:
            return progress
        progress["looks"] += 1
        progress["loss"] = fresh_loss = self._ranks.mean(fresh.loss)
        if not lead["looks"]:
            progress["first_loss"] = fresh_loss
        else:
            progress["loss"] = 0.9 * lead["loss"] + 0.1 * fresh_loss
        if not natural:
            return progress
        steps = {u: d for u, d in direction.items() if u in natural}
        curvature = 0.0
        moved: dict[Units, list[steplength.Moved]] = {}
        for glance in fresh.glances:
            sets: list[list[steplength.Moved]] = [[] for _ in glance.errors]
            for units, entries in move(glance, steps):
                moved.setdefault(units, []).append(entries[0])
                for one, entry in zip(sets, entries, strict=True):
                    one.append(entry)
            curvature += sum(float(steplength.quadratic(one, glance.samples)) for one in sets if one)
        curvature = self._ranks.mean(curvature / len(fresh.glances))
        dual = sum(float(duals[u].sum()) for u in natural)
        for units, entries in moved.items():
            bound = steplength.reach(entries, duals[units], _shape(natural[units], units).per_unit, states[units].get("reach"))
            states[units] = {**states[units], "reach": self._ranks.smallest(bound)}
        if dual > 0:
            progress["curvature"] = steplength.smooth(lead["curvature"], curvature / dual, lead["looks"])
        return progress

    def _require_finite(self, moving: list[tuple[dict[str, Any], Units]], duals: dict[Units, Tensor]) -> None:
        if not duals:
            return
        if bool(torch.isfinite(torch.stack([d.sum().double() for d in duals.values()]).sum())):
            return
        for _, units in moving:
            if bool(torch.isfinite(duals[units]).all()):
                continue
            for p in units.parameters:
                self._require_finite_gradient(p)
            raise NotFinite(
                f"the step of layer '{units.name}' is not finite though its gradient is: its metric overflowed. "
                "Nothing was changed; use float32 or float64 parameters, or damping > 0."
            )

    def _require_finite_gradient(self, p: nn.Parameter) -> None:
        if p.grad is None or bool(torch.isfinite(p.grad).all()):
            return
        raise NotFinite(
            f"the gradient of '{self._network.names[p]}' is not finite "
            f"({int((~torch.isfinite(p.grad)).sum())} of {p.grad.numel()} entries): the loss is NaN or "
            "infinite, or overflowed. Nothing was changed; look at the batch that caused it."
        )

    def _apply(
        self,
        moving: list[tuple[dict[str, Any], Units]],
        states: dict[Units, State],
        momenta: dict[Units, State],
        direction: Direction,
        duals: dict[Units, Tensor],
        progress: dict[str, Any],
    ) -> None:
        """Move the parameters and keep the new state."""
        dual = float(sum(duals[u].sum().double() for g, u in moving if g["natural"]) or 0.0)
        loss = min(progress["loss"], progress["first_loss"])
        natural = steplength.natural_length(progress["curvature"], dual, loss)
        bounds = {
            units: steplength.bound(natural, duals[units], states[units]["reach"], _shape(group, units).per_unit)
            for group, units in moving
            if group["natural"]
        }
        free = torch.stack([bound.amin() for bound in bounds.values()]).tolist() if bounds else []
        whole = {units: least == natural for units, least in zip(bounds, free, strict=True)}
        for group, units in moving:
            delta, delta0 = direction[units]
            rate = float(group["lr"])
            length = rate * natural if group["natural"] else rate
            if not whole.get(units, True):
                # Some unit is held back: fold its share into the direction, one more pass over the weights.
                held = bounds[units] / natural
                delta.mul_(held.unsqueeze(-1))
                delta0 = None if delta0 is None else delta0 * held
            shrink = 1 - rate * group["weight_decay"]
            for part, piece in zip(units.parts, _pieces(units, delta), strict=True):
                target = part.slice(part.parameter)
                if shrink != 1:
                    target.mul_(shrink)
                target.sub_(part.place(piece, target), alpha=length)
            if units.bias is not None and delta0 is not None:
                flat = units.bias.slice(units.bias.parameter)
                if shrink != 1:
                    flat.mul_(shrink)
                flat.sub_(delta0.reshape(-1), alpha=length)
            kept = self.state[units.anchor]
            for name, value in {**states[units], **momenta.get(units, {})}.items():
                kept[units.key + name] = value

    def _mark(self) -> dict[str, Any]:
        return {
            "version": saved.VERSION,
            "metric": self._probe.name,
            "plain": sorted(self._plain_names),
            "sizes": saved.sizes(self.param_groups),
            "seed": self._seed,
            "smallest": self._recorder.smallest,
        }

    def state_dict(self) -> dict[str, Any]:
        """As any optimizer's, with the composition it belongs to."""
        return {**super().state_dict(), "isotrain": self._mark()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume: the next steps are bit for bit those of the run that was saved.

        Raises:
            BadCheckpoint: the state is another optimizer's, version's, model's or composition's.
        """
        mark = saved.require_own(state_dict, self.param_groups, self._mark())
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "isotrain"})
        saved.restore(self.state, state_dict, self.param_groups)
        self._arrange()
        self._seed = mark["seed"]
        self._recorder.resume(self.param_groups[0]["subsample"], mark["smallest"])
        self._expect()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
            "_model": self._model,
            "_likelihoods": self._likelihoods,
            "_probe": self._probe,
            "_seed": self._seed,
            "_plain_names": self._plain_names,
            "_smallest": self._recorder.smallest,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_model" not in state:
            return  # torch's load_state_dict comes through here with state and groups alone
        self._root = innermost(self._model)
        self._network = Network(self._root, self._plain_names)
        self._ranks = Ranks(self._model)
        self._recorder = Recorder(self._root, self.defaults["subsample"])
        self._recorder.resume(self.param_groups[0]["subsample"], state["_smallest"])
        self._arm()


def _shape(group: dict[str, Any], units: Units) -> Shape:
    return Rows(units.anchor.shape[0]) if units.one_hot else SHAPES[group["shape"]]


def _named_likelihoods(likelihood: Any) -> Any:
    if isinstance(likelihood, Mapping):
        return {name: named(one) for name, one in likelihood.items()}
    if isinstance(likelihood, str | Likelihood):
        return named(likelihood)
    return [None if one is None else named(one) for one in likelihood]


def _check_options(group: dict[str, Any]) -> None:
    if group["shape"] not in SHAPES:
        raise UnknownName("shape", group["shape"], SHAPES)
    ranges = {
        "lr": (0.0, float("inf")), "decay": (0.0, 1.0), "damping": (0.0, float("inf")), "momentum": (0.0, 1.0),
        "weight_decay": (0.0, float("inf")),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        value = float(group[name])
        if not low <= value < high:
            raise BadOption(f"{name}={group[name]!r} must be in [{low:g}, {high:g}).")


def _gradient_times(factor: float) -> Callable[[nn.Parameter], Tensor]:
    def read(p: nn.Parameter) -> Tensor:
        if p.grad is None:
            return torch.zeros_like(p)
        if p.grad.is_sparse:
            raise BadOption("sparse gradients are not supported: use Embedding(sparse=False).")
        grad = p.grad if p.grad.dtype.itemsize >= 4 else p.grad.float()
        return grad if factor == 1 else grad * factor

    return read


def _averaged(old: State, v: Tensor, v0: Tensor | None, keep: float) -> tuple[Tensor, Tensor | None, State]:
    """Bias-corrected moving average of the gradient, and what to keep of it."""
    turns = old["turns_v"] + 1 if "turns_v" in old else torch.ones((), dtype=torch.float64)
    correction = 1 - keep ** float(turns)
    kept = {"turns_v": turns, "v": torch.lerp(v, old["v"], keep) if "v" in old else v * (1 - keep)}
    if v0 is not None:
        kept["v0"] = torch.lerp(v0, old["v0"], keep) if "v0" in old else v0 * (1 - keep)
    return kept["v"] / correction, None if v0 is None else kept["v0"] / correction, kept


def _pieces(units: Units, delta: Tensor) -> list[Tensor]:
    if len(units.parts) <= 1:
        return [delta][: len(units.parts)]
    widths = [part.parameter[0].numel() for part in units.parts]
    return list(delta.split(widths, -1))
