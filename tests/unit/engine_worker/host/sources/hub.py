"""A hub that answers what the real huggingface_hub asks for: lists, redirects to other hosts, LFS headers."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from engine_worker.host.sources.pulls import git_id_of

COMMIT = "c" * 40
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeHub:
    """`large`: files in LFS by their paths; `small`: those in Git. `token`: what the hub wants, if any.
    `small_faults`: statuses that come in place of the small files; 0: a cut in the middle of one. `seen`: the
    Authorization headers of the requests, by their path's first part. `listed`: replaces the list of files.
    """

    large: dict[str, bytes] = field(default_factory=dict)
    small: dict[str, bytes] = field(default_factory=dict)
    token: str = ""
    cut_after: list[int] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    seen: dict[str, set[str]] = field(default_factory=dict)
    small_faults: list[int] = field(default_factory=list)
    listed: bytes = b""
    url: str = ""
    storage_url: str = ""

    async def info(self, request: web.Request) -> web.StreamResponse:
        self._see("api", request)
        if self._refuses(request):
            # As the real one.
            return web.Response(
                status=401, headers={"WWW-Authenticate": 'Bearer realm="Authentication required"'}
            )
        if self.listed:
            return web.Response(body=self.listed, content_type="application/json")
        with_files = "blobs" in request.query
        siblings = [
            {"rfilename": path, **(self._metadata(path, data) if with_files else {})}
            for path, data in (self.small | self.large).items()
        ]
        return web.json_response({"id": "team/model", "sha": COMMIT, "private": False, "siblings": siblings})

    async def tree(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(
            [
                {"type": "file", "oid": git_id_of(data), "size": len(data), "path": path}
                for path, data in (self.small | self.large).items()
            ]
        )

    def _metadata(self, path: str, data: bytes) -> dict[str, object]:
        found: dict[str, object] = {"size": len(data), "blobId": git_id_of(data)}
        if path in self.large:
            sha256 = hashlib.sha256(data).hexdigest()
            found["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
        return found

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        self._see("resolve", request)
        path = request.match_info["path"]
        if self._refuses(request):
            return web.Response(status=401)
        headers = {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if (data := self.large.get(path)) is not None:
            sha256 = hashlib.sha256(data).hexdigest()
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{sha256}"'}
            return web.Response(
                status=302, headers={**headers, "Location": f"{self.storage_url}/stored/{path}"}
            )
        if path in self.small and self.small_faults:
            return await self._fail(request, self.small[path], self.small_faults.pop(0))
        if (data := self.small.get(path)) is not None:
            return web.Response(body=data, headers={**headers, "ETag": f'"{git_id_of(data)}"'})
        return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})

    async def _fail(self, request: web.Request, data: bytes, status: int) -> web.StreamResponse:
        answer = web.StreamResponse(status=status or 200)
        answer.content_length = len(data) if not status else 0
        await answer.prepare(request)
        if not status:
            await answer.write(data[: len(data) // 2])
            assert request.transport is not None
            request.transport.close()
        return answer

    async def stored(self, request: web.Request) -> web.StreamResponse:
        self._see("stored", request)
        data = self.large[request.match_info["path"]]
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        answer = web.StreamResponse(status=206 if asked else 200)
        answer.content_length = len(data) - begin
        await answer.prepare(request)
        if self.cut_after:
            await answer.write(data[begin : begin + self.cut_after.pop(0)])
            assert request.transport is not None
            request.transport.close()
        else:
            await answer.write(data[begin:])
        return answer

    def _see(self, part: str, request: web.Request) -> None:
        self.seen.setdefault(part, set()).add(request.headers.get("Authorization", ""))

    def _refuses(self, request: web.Request) -> bool:
        return bool(self.token) and request.headers.get("Authorization") != f"Bearer {self.token}"


@web.middleware
async def _compressing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """As the real one: answers are compressed for clients that take that."""
    answer = await handler(request)
    if isinstance(answer, web.Response):
        answer.enable_compression()
    return answer


@asynccontextmanager
async def serving(hub: FakeHub) -> AsyncIterator[FakeHub]:
    """The hub, and its storage on another host."""
    api, storage = web.Application(middlewares=[_compressing]), web.Application()
    api.router.add_get("/api/models/{org}/{repo}", hub.info)
    api.router.add_get("/api/models/{org}/{repo}/revision/{revision}", hub.info)
    api.router.add_get("/api/models/{org}/{repo}/tree/{revision}", hub.tree)
    api.router.add_get("/{org}/{repo}/resolve/{revision}/{path:.*}", hub.resolve)
    storage.router.add_get("/stored/{path:.*}", hub.stored)
    runners = [web.AppRunner(app, shutdown_timeout=0.1) for app in (api, storage)]
    try:
        for runner in runners:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        hub.url, hub.storage_url = (f"http://127.0.0.1:{runner.addresses[0][1]}" for runner in runners)
        yield hub
    finally:
        for runner in runners:
            await runner.cleanup()
