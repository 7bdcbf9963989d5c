"""Parameters that `fully_shard` has cut over the processes: what the optimizer keeps is cut as well.

At rest every process holds its share of each block's larger tensors, as a DTensor. A step needs the whole of a block:
the strongest directions of a gradient are no sum of directions of its rows. So gradients, and what a direction is made
of, are gathered once a step, all in one exchange; every process works out every direction, and moves its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate, Shard

from isotrain.errors import UnsupportedOperation
from isotrain.riemann.blocks import Shape, State
from isotrain.riemann.gradients import gradient_times
from isotrain.riemann.options import shape_of
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.units import Units

SMALL = 256
"""State of no more numbers than this is kept whole everywhere."""
FOLLOWED = ("v", "v0", "last", "last0", "turns_v", "moved", "moved_at", "reach", "curvature", "usual")
"""What a step needs beside what its shape reads."""


def mesh_of(model: nn.Module) -> Any:
    """The processes that hold the model's parameters in shares, or None.

    Raises:
        UnsupportedOperation: they are cut in another way than along their first dimension over one group.
    """
    meshes = []
    for name, p in model.named_parameters():
        if isinstance(p, DTensor):
            if p.device_mesh.ndim != 1 or p.placements != (Shard(0),):
                raise UnsupportedOperation(
                    f"'{name}' is cut as {p.placements} over a mesh of {p.device_mesh.ndim} dimensions: isotrain "
                    "follows fully_shard(model) as it is by default, along the first dimension over one group."
                )
            meshes.append(p.device_mesh)
    return meshes[0] if meshes else None


def share_of(length: int, world: int, rank: int) -> tuple[int, int]:
    """Which of `length` rows a process holds.

    >>> [share_of(5, 4, rank) for rank in range(4)]
    [(0, 2), (2, 4), (4, 5), (5, 5)]
    """
    each = -(-length // world)
    return min(rank * each, length), min((rank + 1) * each, length)


def whole(tensors: Sequence[Tensor], ranks: Ranks) -> list[Tensor]:
    """Each tensor complete, the shares gathered in one exchange."""
    found = list(tensors)
    places = [place for place, t in enumerate(tensors) if isinstance(t, DTensor)]
    if not places:
        return found
    values, counts, dims = [], [], []
    for place in places:
        t = tensors[place]
        assert isinstance(t, DTensor)
        (cut,) = t.placements
        assert isinstance(cut, Shard)
        dims.append(cut.dim)
        values.append(t.to_local().movedim(cut.dim, 0).contiguous())
        counts.append(t.shape[cut.dim])
    shares = [[share_of(n, ranks.world, rank) for n in counts] for rank in range(ranks.world)]
    rows = ranks.rows(values, [[end - first for first, end in one] for one in shares])
    for place, dim, value in zip(places, dims, rows, strict=True):
        found[place] = value.movedim(0, dim).contiguous()
    return found


def share(value: Tensor, mesh: Any) -> Tensor:
    """This process's share of a tensor that all have, cut along its longest dimension; the tensor where it is small."""
    if isinstance(value, DTensor) or value.numel() <= SMALL:
        return value
    dim = max(range(value.ndim), key=lambda d: value.shape[d])
    everywhere = DTensor.from_local(value.contiguous(), mesh, [Replicate()], run_check=False)
    cut = everywhere.redistribute(placements=[Shard(dim)])
    return DTensor.from_local(cut.to_local().clone(), mesh, [Shard(dim)], run_check=False, shape=value.shape,
                              stride=value.contiguous().stride())  # fmt: skip


class Gathered:
    """What a step needs of the shares: gradients, and the state that directions are made of."""

    def __init__(
        self, blocks: Sequence[tuple[Units, Shape]], state: Mapping[Any, State], looked: bool, ranks: Ranks
    ) -> None:
        gradients = {p: p.grad for units, _ in blocks for p in units.parameters if p.grad is not None}
        wanted: dict[tuple[nn.Parameter, str], Tensor] = {}
        for units, shape in blocks:
            for name, value in state.get(units.anchor, {}).items():
                own = name[len(units.key) :]
                if name.startswith(units.key) and (looked or not shape.stacked or own in (*shape.stacked, *FOLLOWED)):
                    wanted[units.anchor, name] = value
        found = iter(whole([*gradients.values(), *wanted.values()], ranks))
        self._gradients = {p: next(found) for p in gradients}
        self._state = {key: next(found) for key in wanted}

    def gradient_times(self, factor: float) -> Callable[[nn.Parameter], Tensor]:
        """Reads a parameter's whole gradient, times a factor; zeros where there is none."""

        def read(p: nn.Parameter) -> Tensor:
            gradient = self._gradients.get(p)
            if gradient is None:
                return torch.zeros(p.shape, dtype=p.dtype, device=p.device)
            wide = gradient if gradient.dtype.itemsize >= 4 else gradient.float()
            return wide if factor == 1 else wide * factor

        return read

    def of(self, anchor: nn.Parameter, kept: State) -> State:
        """A parameter's state with what was gathered in its place."""
        return {name: self._state.get((anchor, name), value) for name, value in kept.items()}


class Here:
    """The same of parameters that are not cut."""

    gradient_times = staticmethod(gradient_times)

    def of(self, anchor: nn.Parameter, kept: State) -> State:
        """As it is."""
        return kept


def gather(
    mesh: Any, moving: Sequence[tuple[dict[str, Any], Units]], state: Mapping[Any, State], looked: bool, ranks: Ranks
) -> Gathered | Here:
    """What a step of the blocks that move, each with its parameter group, reads."""
    if mesh is None:
        return Here()
    return Gathered([(units, shape_of(group, units)) for group, units in moving], state, looked, ranks)


def shared(state: MutableMapping[Any, State], mesh: Any, plain: Container[nn.Parameter]) -> None:
    """Cut what is kept, where there is a mesh to cut it over; of parameters trained plainly, as they are cut."""
    for p, kept in state.items() if mesh is not None else ():
        for name, value in kept.items():
            kept[name] = share_as(value, p) if p in plain else share(value, mesh)


def share_as(value: Tensor, parameter: nn.Parameter) -> Tensor:
    """This process's share of a tensor that all have, cut as a parameter of its shape is."""
    if isinstance(value, DTensor) or not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    everywhere = DTensor.from_local(value, parameter.device_mesh, [Replicate()], run_check=False)
    return everywhere.redistribute(placements=parameter.placements)


def local_rows(parameter: nn.Parameter, rows: tuple[int, int] | None) -> tuple[Tensor, slice]:
    """Of some rows of a parameter, those that are here, and which of the rows they are."""
    first, end = (0, parameter.shape[0]) if rows is None else rows
    if not isinstance(parameter, DTensor):
        return parameter[first:end], slice(None)
    mesh = parameter.device_mesh
    low, high = share_of(parameter.shape[0], mesh.size(), mesh.get_local_rank())
    start, stop = max(first, low), max(first, low, min(end, high))
    return parameter.to_local()[max(0, start - low) : max(0, stop - low)], slice(start - first, stop - first)


def read_state(checkpoint: Any, name: str) -> dict[str, Any]:
    """What `torch.distributed.checkpoint.save({name: optimizer.state_dict(), ...})` wrote, for `load_state_dict`.

    A new optimizer has no state yet that could be filled in place, so it is read by what the checkpoint says of itself.
    However many processes wrote it, each that reads it gets all of it, and keeps its share.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    about = FileSystemReader(checkpoint).read_metadata()
    paths = {key: path for key, path in about.planner_data.items() if path[0] == name}
    flat: dict[str, Any] = {}
    for key in paths:
        entry = about.state_dict_metadata[key]
        flat[key] = None
        if isinstance(entry, TensorStorageMetadata):
            flat[key] = torch.empty(entry.size, dtype=entry.properties.dtype)
    load(flat, checkpoint_id=checkpoint)
    found: dict[Any, Any] = {}
    for key, path in paths.items():
        inside = found
        for step in path[1:-1]:
            inside = inside.setdefault(step, {})
        inside[path[-1]] = flat[key]
    found["state"] = {int(place): kept for place, kept in found.get("state", {}).items()}  # keys are written as words
    return {key: value if key == "state" else _listed(value) for key, value in found.items()}


def _listed(value: Any) -> Any:
    """Lists that were taken apart, put together."""
    if not isinstance(value, dict):
        return value
    inside = {key: _listed(one) for key, one in value.items()}
    return [inside[place] for place in sorted(inside)] if inside and all(isinstance(k, int) for k in inside) else inside
