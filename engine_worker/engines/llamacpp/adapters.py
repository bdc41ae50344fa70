"""The adapters of llama.cpp's process, which loads them only when it starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from drover.errors import AdapterMissing, EngineFailed, InvalidRequest
from engine_worker.adapters.contents import Adapter
from engine_worker.engines.llamacpp.api import JsonObject


class ProcessAdapters:
    """`on_failure` is called with a reason if the process does not start again."""

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure
        self._wanted: Sequence[Adapter] = ()
        # The numbers of the adapters that the latest process was given, by digest.
        self._numbers: dict[str, int] = {}

    def begin_start(self) -> Sequence[Path]:
        """The files that a process which starts now loads, in the order of their numbers. Adapters that are
        added before it has started need another start.
        """
        self._numbers = {adapter.digest: number for number, adapter in enumerate(self._wanted)}
        return [adapter.gguf_path for adapter in self._wanted]

    def lacks_any(self, adapters: Sequence[Adapter]) -> bool:
        return any(adapter.digest not in self._numbers for adapter in adapters)

    async def use(self, adapters: Sequence[Adapter], restart: Callable[[], Awaitable[None]]) -> None:
        """Restart the process if one of them is new. One that is left out stays loaded until the next start.

        `restart` raises RuntimeError if the process cannot load what it should. Raises InvalidRequest then,
        with the adapters of the earlier call loaded again.
        """
        before, self._wanted = self._wanted, adapters
        if not self.lacks_any(adapters):
            return
        try:
            await restart()
        except RuntimeError as error:
            self._wanted = before
            try:
                await restart()
            except RuntimeError as failure:
                self._on_failure(f"llama.cpp did not start again: {failure}")
                raise EngineFailed("llama.cpp did not start again") from failure
            raise InvalidRequest(f"adapters: llama.cpp cannot load the adapter: {error}") from error

    def applied(self, digest: str) -> JsonObject:
        """The part of a request's body that applies one of them, or none. Raises AdapterMissing."""
        if digest and digest not in self._numbers:
            raise AdapterMissing("llama.cpp has not loaded the adapter of the request")
        scales = [
            {"id": number, "scale": 1.0 if known == digest else 0.0}
            for known, number in self._numbers.items()
        ]
        return {"lora": scales} if scales else {}
