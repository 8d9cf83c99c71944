"""A network whose weights are about to be loaded need not draw any first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class NoInitialWeights(TorchFunctionMode):
    """Within it, functions of ``torch.nn.init`` leave their tensor as it is: for networks that then load every weight.

    Random numbers for 200,000 users' rows would take a tenth of a second of a service's start.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)
