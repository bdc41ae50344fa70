"""A registry that answers what real ones do, and what broken or hostile ones might."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from engine_worker.host.store.manifest import CONFIG, MODEL, Layer, Manifest
from tests.unit.engine_worker.host.conftest import digest_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeRegistry:
    """`blobs`: by digest. `cut_after`: bytes of a blob after which the connection is closed, once for each
    entry. `ignores_ranges`: it sends whole files only. `token`: what a client must present, for manifests and
    blobs; `asks_for`: what the token is given for, a value of Authorization or a form's refresh_token; empty:
    nothing; `realm`: where, if not here. `gate`: blobs are sent once it is set; `stops`: a cut closes it.
    `seen`: each request's path and Authorization. `leads_to`: where manifests and blobs are instead.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    ignores_ranges: bool = False
    token: str = ""
    asks_for: str = ""
    realm: str = ""
    leads_to: str = ""
    seen: list[tuple[str, str]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    stops: bool = False
    ranges: list[str] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.gate.set()

    def put(self, path: str, data: bytes) -> Manifest:
        layers = [Layer(MODEL, digest_of(data), len(data))]
        manifest = Manifest(layers, Layer(CONFIG, digest_of(b"{}"), 2))
        self.blobs |= {digest_of(data): data, digest_of(b"{}"): b"{}"}
        self.manifests[path] = manifest.encode()
        return manifest

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "")
        self.seen.append((request.path, sent))
        if not request.path.startswith("/v2/"):
            return await handler(request)
        if self.token and sent != f"Bearer {self.token}":
            realm = self.realm or f"{self.url}/token"
            challenge = f'Bearer realm="{realm}",service="registry",scope="repository:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        if self.leads_to:
            location = self.leads_to.format(path=request.path)
            return web.Response(status=307, headers={"Location": location})
        return await handler(request)

    async def manifest(self, request: web.Request) -> web.StreamResponse:
        found = self.manifests.get(request.path)
        return web.Response(status=404) if found is None else web.Response(body=found)

    async def give_token(self, request: web.Request) -> web.StreamResponse:
        """By GET with what a user has, by POST with an identity token."""
        form = await request.post()
        shown = form.get("refresh_token") or request.headers.get("Authorization", "")
        if self.asks_for and shown != self.asks_for:
            return web.Response(status=401)
        assert {**request.query, **form}.get("scope") == "repository:pull"
        return web.json_response({"token": self.token})

    async def blob(self, request: web.Request) -> web.StreamResponse:
        data = self.blobs[request.match_info["digest"]]
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not self.ignores_ranges else 0
        rest = data[begin:]
        answer = web.StreamResponse(status=206 if begin else 200)
        answer.content_length = len(rest)
        await answer.prepare(request)
        await self.gate.wait()
        if self.cut_after:
            await answer.write(rest[: self.cut_after.pop(0)])
            assert request.transport is not None
            request.transport.close()
            if self.stops:
                self.gate.clear()
            return answer
        await answer.write(rest)
        return answer


@asynccontextmanager
async def serving(registry: FakeRegistry) -> AsyncIterator[str]:
    app = web.Application(middlewares=[registry.guard])
    app.router.add_get("/v2/{namespace}/{model}/manifests/{tag}", registry.manifest)
    app.router.add_get("/v2/{namespace}/{model}/blobs/{digest}", registry.blob)
    app.router.add_route("*", "/token", registry.give_token)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    registry.url = f"http://{host}:{port}"
    try:
        yield registry.url
    finally:
        await runner.cleanup()
