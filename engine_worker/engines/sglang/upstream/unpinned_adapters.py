"""Adapters on a machine without an accelerator: SGLang (0.5.23) allocates pinned memory for them in any case,
which needs a driver. There is no device to copy to, so ordinary memory does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from sglang.srt.plugins.hook_registry import HookRegistry, HookType
from torch.overrides import TorchFunctionMode

from engine_worker.engines.sglang.upstream.environment import has_accelerator

# Once at the start, and once for each engine step.
_ALLOCATING = (
    "sglang.srt.lora.lora_manager.LoRAManager.init_state",
    "sglang.srt.lora.backend.torch_backend.TorchNativeLoRABackend.prepare_lora_batch",
)


def register() -> None:
    """The plugin's entry point: SGLang calls it in each of its processes."""
    if not has_accelerator():
        for name in _ALLOCATING:
            HookRegistry.register(name, _without_pinning, HookType.AROUND)


def _without_pinning(original: Callable[..., object], *arguments: object, **named: object) -> object:
    with _Unpinned():
        return original(*arguments, **named)


class _Unpinned(TorchFunctionMode):
    """Torch functions called within allocate ordinary memory where pinned memory is asked for."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        if func is torch.Tensor.pin_memory:
            return args[0]
        return func(*args, **{name: value for name, value in (kwargs or {}).items() if name != "pin_memory"})
