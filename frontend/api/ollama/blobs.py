"""HEAD and POST /api/blobs/:digest (ollama-contract.md, "Create, copy, delete and blobs")."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import BodyTooLarge, InvalidRequest, NoWorkerReady, StoreUnavailable
from frontend.api.core.body import body_chunks, read_body
from frontend.api.ollama.create import is_digest
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.middleware.held_bodies import held_body_of
from frontend.models.blobs import Blobs
from frontend.routing.hosts.stores import HostStores
from frontend.settings import FrontendSettings


@dataclass(frozen=True, slots=True)
class BlobRoutes:
    blobs: Blobs
    stores: HostStores
    settings: FrontendSettings

    async def head(self, http: Request) -> Response:
        digest = _digest_of(http)
        return Response() if await self._has(digest) else Response(status_code=404, media_type=JSON)

    async def post(self, http: Request) -> Response:
        digest = _digest_of(http)
        if await self._has(digest):
            return Response()
        if self.stores.can_be_reached and await self.stores.blob_size(digest) is None:
            return await self._pass_on(http, digest)
        data = await self._body(http, digest)
        found = f"sha256:{await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())}"
        if found != digest:
            raise InvalidRequest(f'digest mismatch, expected "{digest}", got "{found}"')
        return Response(status_code=201 if await self.blobs.put(digest, data) else 200)

    async def _has(self, digest: str) -> bool:
        """With hosts also the host must have it, where models are made of its files. It is enough for what is
        too large to be the adapter of a preset, which is kept here. While all hosts are away only adapters
        can be used, whose models may have other workers.
        """
        is_here = await self.blobs.has(digest)
        if not self.stores.can_be_reached:
            return is_here
        size = await self.stores.blob_size(digest)
        return size is not None and (is_here or size > self.settings.max_blob_bytes)

    async def _pass_on(self, http: Request, digest: str) -> Response:
        """To a host, as it comes. A small one may be an adapter's, so it is kept here too."""
        small, held = bytearray(), held_body_of(http.scope)

        async def chunks() -> AsyncGenerator[bytes, None]:
            nonlocal small
            length = 0
            async for chunk in body_chunks(http, self.settings.body_timeout_seconds):
                length += len(chunk)
                if length <= self.settings.max_blob_bytes:
                    held.grow(len(chunk))
                    small += chunk
                elif small:
                    small = bytearray()
                    held.release()
                yield chunk

        is_new = await self.stores.put_blob(digest, chunks())
        # Where it is not new the host has not read it.
        if small and is_new:
            with suppress(StoreUnavailable):
                await self.blobs.put(digest, bytes(small))
        return Response(status_code=201 if is_new else 200)

    async def _body(self, http: Request, digest: str) -> bytes:
        settings = self.settings
        try:
            return await read_body(http, settings.max_blob_bytes, settings.body_timeout_seconds)
        except BodyTooLarge:
            if self.stores.can_be_reached:
                raise InvalidRequest(
                    f'digest mismatch, expected "{digest}", got more bytes than the file with it has'
                ) from None
            if self.stores.exist:
                raise NoWorkerReady("no worker host can be reached right now, please try again") from None
            raise BodyTooLarge(
                f"blob too large: this server takes at most {settings.max_blob_bytes} bytes. Weights are not "
                "uploaded here: engine workers serve them (python -m engine_worker --model FILE --name NAME)."
                " For a larger adapter raise --max-blob-bytes"
            ) from None


def _digest_of(http: Request) -> str:
    digest = str(http.path_params["digest"])
    if not is_digest(digest):
        raise InvalidRequest("invalid digest format")
    return digest.replace("-", ":", 1).lower()


def router(blobs: Blobs, stores: HostStores, settings: FrontendSettings) -> APIRouter:
    routes = direct_router()
    blob_routes = BlobRoutes(blobs, stores, settings)
    routes.add_api_route("/api/blobs/{digest}", blob_routes.head, methods=["HEAD"])
    routes.add_api_route("/api/blobs/{digest}", blob_routes.post, methods=["POST"])
    return routes
