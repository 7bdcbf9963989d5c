"""The optimizer: a torch.optim.Optimizer whose steps do not depend on how the model was written down."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from isotrain.errors import BadOption, NoBackward, NotObserved
from isotrain.likelihood.base import Likelihood
from isotrain.riemann import motion, options, saved, scaling
from isotrain.riemann.average import EAGER_STEPS, due
from isotrain.riemann.claims import Change, claims
from isotrain.riemann.gradients import require_finite_gradient
from isotrain.riemann.hooks import watch
from isotrain.riemann.measure import Fresh, measured, refresh, stream
from isotrain.riemann.network import Network, blocks_of, refuse_strays
from isotrain.riemann.pace import Pace
from isotrain.riemann.plainrule import plain_step
from isotrain.riemann.probes import probe
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.record import Recorder, entrance, innermost
from isotrain.riemann.shards import Gathered, Here, gather, mesh_of, shared
from isotrain.riemann.stacks import Stacks
from isotrain.riemann.trial import shared_length
from isotrain.riemann.units import Units

LikelihoodLike = str | Likelihood


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
        metric: "signs" (random signs through a root of the output's Fisher matrix: the natural metric with
            little noise), "monte-carlo" (labels drawn from the output), "exact", "outer-product" or
            "backpropagated".
        shape: "polar", "diagonal", "quasi-diagonal", "unitwise", "kronecker" or "kronecker-full".
        decay: what the moving average of the metric keeps at a refresh. Default 0.95 (plain rule 0.99).
        refresh: steps between two looks (the first 20 steps each take one).
        subsample: share of the batch looked at, never fewer than 16 samples (the first 20 looks: all of it).
        damping: relative, covariant damping. Default 0.1 (plain rule 0).
        momentum: what the moving average of the gradient keeps. Default 0.9 for "polar", 0 else.
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
        metric: str = "signs",
        shape: str = "polar",
        decay: float | None = None,
        refresh: int = 10,
        subsample: float = 0.125,
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
                f"Riemannian needs the model, got {type(model).__name__}: pass Riemannian(model), not "
                "model.parameters(). For groups with options of their own use params=[{'params': ..., 'lr': ...}]."
            )
        self._model = model
        self._root = innermost(model)
        self._likelihoods = options.likelihoods(likelihood)
        self._probe = probe(metric)
        self._seed, self._plain_names = seed, tuple(plain)
        self._network = Network(self._root, self._plain_names)
        self._ranks = Ranks(model)
        self._mesh = mesh_of(self._root)
        options.check_whole(refresh, subsample)
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
            "momentum": options.momentum_of(natural, shape) if momentum is None else momentum,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        self._recorder = Recorder(self._root, subsample, self._ranks)
        self._blocks: list[tuple[dict[str, Any], Units]] = []
        super().__init__([{"params": list(self._root.parameters())}] if params is None else params, defaults)
        self.param_groups[0].update(motion.START)
        self._arm()

    _step_supports_amp_scaling = True

    def _arm(self) -> None:
        """Hook the model's own forward; unhook when the optimizer goes."""
        self._arrange()
        self._close = weakref.finalize(self, watch(entrance(self._model), self._recorder))
        self._expect()

    def _arrange(self) -> None:
        """Which group every block belongs to."""
        self._blocks = blocks_of(self._network, self.param_groups)
        self._stacks = Stacks()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group with options of its own; its parameters belong to the model."""
        group = dict(param_group)
        options.complete_group(group, self.defaults)
        options.check_group(group, self.defaults, motion.START)
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
        plain = bool(self._network.plain)
        return frozenset.intersection(*(claims(g["shape"], g["damping"], plain) for g in self.param_groups))

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
        lead = self.param_groups[0]
        self._recorder.due, self._recorder.whole = due(lead["step"], lead["refresh"]), lead["step"] < EAGER_STEPS

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
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

    @torch.compiler.disable(reason="a look runs the model eagerly")  # type: ignore[untyped-decorator]
    def _step(self) -> None:
        scale = scaling.of_gradients(self)
        if any(units.refrozen for _, units in self._blocks):
            self._arrange()  # raises, naming the layer
        moving = [block for block in self._blocks if block[1].trained]
        if not moving and not any(p.grad is not None for p in self._network.plain):
            raise NoBackward("step() was called and no parameter has a gradient: call loss.backward() first.")
        refuse_strays(self._root, self._network, self.param_groups, self._plain_names)
        lead = self.param_groups[0]
        fresh = self._look(moving, scaling.of_loss(self)) if self._recorder.due and moving else None
        if fresh is not None:
            moving = measured(moving, fresh, self.state, first=not lead["looks"])
        gathered = gather(self._mesh, moving, self.state, fresh is not None, self._ranks)
        blocks = [self._ready(group, units, fresh, scale, gathered) for group, units in moving]
        pace = Pace(*lead["pace"]).after(motion.gained(blocks), steady=lead["step"] < EAGER_STEPS)
        progress: motion.Progress = {"step": lead["step"] + 1, "pace": astuple(pace)}
        motions = motion.propose(blocks, self._stacks)
        if fresh is not None:
            progress |= motion.measure_along(motions, fresh, lead, self._ranks)
        dual = motion.require_finite(motions, self._network.names)
        for p in self._network.plain:
            require_finite_gradient(p, self._network.names)
        length = shared_length(self._root, motions, fresh, lead, progress, dual, self._ranks)
        motion.shift(motions, length)
        motion.keep(motions, self.state, length, progress["step"])
        shared(self.state, self._mesh, self._network.plain)
        for group in self.param_groups:
            plain = [p for p in group["params"] if p in self._network.plain and p.grad is not None]
            plain_step(self.state, plain, group, scale)
        self.param_groups[0].update(progress)
        self._expect()
        if fresh is not None:
            self._recorder.trainable = [p.requires_grad for p in self._recorder.parameters]

    def _look(self, moving: list[tuple[dict[str, Any], Units]], scale: float) -> Fresh:
        """Measure this batch."""
        lead = self.param_groups[0]
        shapes = {units: options.shape_of(group, units) for group, units in moving}
        shapes |= {one: options.shape_of(group, one, True) for group, units in moving for one in units.guests}
        generators = partial(stream, (self._seed, lead["step"]))
        calls = self._recorder.seen()
        return refresh(
            self._root, calls, self._network.layers, shapes, self._probe, self._likelihoods, generators,
            any(group["natural"] for group, _ in moving), self._ranks, scale, -1.0 if lead["maximize"] else 1.0,
        )  # fmt: skip

    def _ready(
        self, group: dict[str, Any], units: Units, fresh: Fresh | None, scale: float, gathered: Gathered | Here
    ) -> motion.Ready:
        kept = gathered.of(units.anchor, self.state.get(units.anchor, {})).items()
        old = {name[len(units.key) :]: t for name, t in kept if name.startswith(units.key)}
        read = gathered.gradient_times((-1.0 if group["maximize"] else 1.0) / scale)
        batch, shape = None if fresh is None else fresh.states.get(units), options.shape_of(group, units)
        try:
            return motion.ready(group, units, shape, old, batch, self.param_groups[0], read, options.paced(group))
        except NotObserved:
            self._recorder.due = True
            raise

    def _mark(self) -> dict[str, Any]:
        return {
            "version": saved.VERSION,
            "metric": self._probe.name,
            "plain": sorted(self._plain_names),
            "sizes": saved.sizes(self.param_groups),
            "seed": self._seed,
            **self._recorder.memory(),
        }

    def state_dict(self) -> dict[str, Any]:
        """As any optimizer's, with the composition it belongs to."""
        return {**super().state_dict(), "isotrain": self._mark()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume: the next steps are bit for bit those of the run that was saved.

        Raises:
            BadCheckpoint: the state is another optimizer's, version's, model's or composition's.
        """
        # Between torch's hooks: on what they make of the saved state, before what they do to the loaded one.
        found: list[dict[str, Any]] = []
        hooks = (
            self.register_load_state_dict_pre_hook(lambda _, state: self._accept(state, found)),
            self.register_load_state_dict_post_hook(lambda _: self._restore(found[0]), prepend=True),
        )
        try:
            super().load_state_dict(state_dict)
        finally:
            for hook in hooks:
                hook.remove()

    def _accept(self, state_dict: dict[str, Any], found: list[dict[str, Any]]) -> None:
        saved.require_own(state_dict, self.param_groups, self._mark())
        found.append(state_dict)

    def _restore(self, state_dict: dict[str, Any]) -> None:
        saved.restore(self.state, state_dict, self.param_groups)
        shared(self.state, self._mesh, self._network.plain)
        self._arrange()
        self._seed = state_dict["isotrain"]["seed"]
        self._recorder.resume(self.param_groups[0]["subsample"], state_dict["isotrain"])
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
            "_recorded": self._recorder.memory(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                if name != "differentiable":  # torch's own, which it adds to the defaults here
                    group.setdefault(name, value)  # saved before the option existed
        if "_model" not in state:
            return  # torch's load_state_dict comes through here with state and groups alone
        self._root = innermost(self._model)
        self._network = Network(self._root, self._plain_names)
        self._ranks = Ranks(self._model)
        self._mesh = mesh_of(self._root)
        self._recorder = Recorder(self._root, self.defaults["subsample"], self._ranks)
        self._recorder.resume(self.param_groups[0]["subsample"], state["_recorded"])
        self._arm()
