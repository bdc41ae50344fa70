"""Pushes: a model of the store to a registry, by the protocol of OCI distribution."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import aiohttp

from drover.errors import NotTransferable, SourceFailed
from drover.names import ModelName
from drover.v1 import host_pb2
from engine_worker.host.at_once import AtOnce
from engine_worker.host.sources.http import SourceClient, words_of
from engine_worker.host.sources.pulls import short_digest
from engine_worker.host.sources.redirects import host_of, target_of
from engine_worker.host.sources.registry import Registry
from engine_worker.host.store.manifest import DOCKER_MANIFEST, Layer, Manifest
from engine_worker.host.store.store import Store

# A larger file goes in pieces of this size, each of which is sent again if it was cut off.
_PIECE_BYTES = 16 << 20
# At once: each has a piece in memory.
_MAX_PUSHES = 16
_ATTEMPTS = 4
_PAUSE_SECONDS = 0.5
_DATA = {"Content-Type": "application/octet-stream"}
_MAX_ERROR_BYTES = 1000

RegistryOf = Callable[[ModelName, bool], Registry]
"""The registry of a name; the second argument: without TLS. Raises NotTransferable if it is not allowed."""


@dataclass(frozen=True, slots=True)
class Pushes:
    store: Store
    client: SourceClient
    registry_of: RegistryOf
    _at_once: AtOnce = field(default_factory=lambda: AtOnce(_MAX_PUSHES, "pushes"))

    async def push(self, name: ModelName, insecure: bool) -> AsyncGenerator[host_pb2.Progress, None]:
        """Yield the progress until the registry has the model. Files that it has are not sent.

        Raises NotTransferable, ModelNotFound, SourceFailed; QueueFull for one too many.
        """
        base = self.registry_of(name, insecure).base_url(name)
        with self._at_once.place():
            async with aclosing(self._push(name, base)) as steps:
                async for step in steps:
                    yield step

    async def _push(self, name: ModelName, base: str) -> AsyncGenerator[host_pb2.Progress, None]:
        yield host_pb2.Progress(status="retrieving manifest")
        manifest = await asyncio.to_thread(self._manifest, name)
        for layer in manifest.files:
            status = f"pushing {short_digest(layer)}"
            async for done in self._upload(base, layer):
                yield host_pb2.Progress(
                    status=status, digest=layer.digest, total_bytes=layer.size_bytes, completed_bytes=done
                )
        yield host_pb2.Progress(status="pushing manifest")
        headers = {"Content-Type": DOCKER_MANIFEST}
        async with self._sent(base, "PUT", f"{base}/manifests/{name.tag}", headers, manifest.encode()):
            yield host_pb2.Progress(status="success", manifest=manifest.digest)

    def _manifest(self, name: ModelName) -> Manifest:
        """Registries want a configuration."""
        manifest = self.store.find(name)
        if manifest.config is not None:
            return manifest
        return Manifest(manifest.layers, self.store.put_config(manifest.layers))

    async def _upload(self, base: str, layer: Layer) -> AsyncIterator[int]:
        """Yield how many bytes of the file the registry has."""
        yield 0
        if not await self._has(f"{base}/blobs/{layer.digest}"):
            async with self._sent(base, "POST", f"{base}/blobs/uploads/", {}, b"") as answer:
                at = await _location(answer)
            path, rest = self.store.blobs.path(layer.digest), b""
            if layer.size_bytes <= _PIECE_BYTES:
                rest = await asyncio.to_thread(path.read_bytes)
            else:
                for begin in range(0, layer.size_bytes, _PIECE_BYTES):
                    at = await self._send_piece(base, at, path, begin)
                    yield min(begin + _PIECE_BYTES, layer.size_bytes)
            mark = "&" if "?" in at else "?"
            end = f"{at}{mark}{urlencode({'digest': layer.digest})}"
            async with self._sent(base, "PUT", end, _DATA, rest):
                pass
        yield layer.size_bytes

    async def _has(self, url: str) -> bool:
        try:
            async with await self.client.send("HEAD", url, {}) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SourceFailed(f"{host_of(url)} cannot be reached: {words_of(error)}") from error

    async def _send_piece(self, base: str, at: str, path: Path, begin: int) -> str:
        """Returns where the next one goes."""
        data = await asyncio.to_thread(_read, path, begin)
        headers = {**_DATA, "Content-Range": f"{begin}-{begin + len(data) - 1}"}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._sent(base, "PATCH", at, headers, data) as answer:
                    return await _location(answer)
            except SourceFailed:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS * attempt)
            with suppress(SourceFailed):
                # It may have come, and only the answer was lost.
                async with self._sent(base, "GET", at, {}, None) as answer:
                    if answer.headers.get("Range", "").endswith(f"-{begin + len(data) - 1}"):
                        return await _location(answer)
        raise AssertionError

    @asynccontextmanager
    async def _sent(
        self, base: str, method: str, url: str, headers: Mapping[str, str], data: bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request that the registry accepts. Raises NotTransferable, SourceFailed.

        `url` may be elsewhere; the registry at `base` named it.
        """
        try:
            async with await self.client.send(method, url, headers, data, source=base) as answer:
                if answer.status in (401, 403):
                    raise NotTransferable(await self.client.refusal(url))
                if answer.status >= 300:
                    reason = (await answer.content.read(_MAX_ERROR_BYTES)).decode(errors="replace")
                    kind = SourceFailed if answer.status >= 500 else NotTransferable
                    raise kind(f"{host_of(url)} refuses the model ({answer.status}): {reason.strip()}")
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SourceFailed(f"{host_of(url)} cannot be reached: {words_of(error)}") from error


async def _location(answer: aiohttp.ClientResponse) -> str:
    """Where an upload continues. Raises SourceFailed."""
    location = answer.headers.get("Location", "")
    if not location:
        raise SourceFailed(f"{host_of(str(answer.url))} names no place for the upload")
    return await target_of(str(answer.url), str(answer.url), location)


def _read(path: Path, begin: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(_PIECE_BYTES)
