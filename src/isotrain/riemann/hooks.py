"""Hooks on the model's own forward, which survive copying and pickling as nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isotrain.riemann.record import Recorder


class Watch:
    """One hook of a recorder. A copy of it (of the model it sits on) watches nothing."""

    def __init__(self, call: Callable[..., None] | None = None) -> None:
        self.call = call

    @torch.compiler.disable(  # type: ignore[untyped-decorator]
        reason="with fullgraph=True, make isotrain's optimizer from what torch.compile returned"
    )
    def __call__(self, *args: Any) -> None:
        """Run outside of compiled code: it keeps references and computes nothing."""
        if self.call is not None:
            self.call(*args)

    def __reduce__(self) -> tuple[type[Watch], tuple[()]]:
        return Watch, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Watch:
        return Watch()


def watch(root: nn.Module, recorder: Recorder) -> Callable[[], None]:
    """Let `recorder` see the calls of `root`; returns what removes the hooks."""
    for hooks in (root._forward_hooks, root._forward_pre_hooks):
        for key in [key for key, hook in hooks.items() if isinstance(hook, Watch) and hook.call is None]:
            del hooks[key]
    handles = (
        root.register_forward_pre_hook(Watch(recorder.before), with_kwargs=True),
        root.register_forward_hook(Watch(recorder.after), with_kwargs=True),
    )

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove
