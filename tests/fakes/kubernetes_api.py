"""Plays the part of a Kubernetes API that a watch of EndpointSlices depends on: versions that are counted,
pages, selectors, bookmarks, a history that is forgotten, tokens and rules. It knows no other kind, and checks
no object. The emulator of kmock keeps no versions, pages or selectors; one test asks it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.http_server import serving

Object = dict[str, object]
_PATH = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
_SERVICE = "kubernetes.io/service-name"


def endpoint(
    address: str, ready: bool | None = True, uid: str = "", terminating: bool = False, **more: object
) -> Object:
    conditions = {"ready": ready, "serving": ready, "terminating": terminating}
    target = {"targetRef": {"kind": "Pod", "uid": uid}} if uid else {}
    return {"addresses": [address], "conditions": conditions, **target, **more}


def endpoint_slice(
    name: str, *endpoints: Object, service: str = "workers", family: str = "IPv4", **more: object
) -> Object:
    return {
        "metadata": {"name": name, "namespace": "llm", "labels": {_SERVICE: service}},
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [{"name": "grpc", "port": 50051, "protocol": "TCP"}],
        **more,
    }


@dataclass(frozen=True)
class _End:
    version: int
    is_cut: bool


@dataclass
class FakeKubernetes:
    """`asked`: the kind and query of each request. `refuse_with`: a status for each request, 0: none;
    `forbidden_verbs`: 403 for these. `page_limit`: most items in a page, whatever was asked for.
    """

    token: str = "first"
    refuse_with: int = 0
    forbidden_verbs: frozenset[str] = frozenset()
    page_limit: int = 500
    asked: list[tuple[Literal["list", "watch"], dict[str, str]]] = field(default_factory=list)
    watching: int = 0
    _version: int = 100
    _forgotten: int = 0
    _lists_expired: bool = False
    _objects: dict[str, Object] = field(default_factory=dict)
    _history: list[tuple[int, Object]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _ends: list[_End] = field(default_factory=list)

    async def put(self, item: Object) -> None:
        name = _name(item)
        await self._record("MODIFIED" if name in self._objects else "ADDED", item)
        self._objects[name] = item

    async def delete(self, name: str) -> None:
        await self._record("DELETED", self._objects.pop(name))

    async def bookmark(self) -> None:
        """Send a new version without a change of the watched objects."""
        await self._record("BOOKMARK", {"metadata": {"name": "", "labels": {}}})

    async def send(self, line: bytes) -> None:
        """To everybody who watches, as it is."""
        self._version += 1
        await self._broadcast({"raw": line.decode()})

    async def forget(self) -> None:
        """All versions until now can be continued from no more."""
        self._version += 1
        self._forgotten = self._version

    def expire_next_page(self) -> None:
        self._lists_expired = True

    async def cut(self) -> None:
        """Every watch, in the middle of its answer."""
        await self._end(cut=True)

    async def end(self) -> None:
        """Every watch, as a server that is asked to stop does."""
        await self._end(cut=False)

    async def _end(self, *, cut: bool) -> None:
        async with self._news:
            self._ends.append(_End(self._version, cut))
            self._news.notify_all()

    async def _record(self, kind: str, item: Object) -> None:
        self._version += 1
        metadata = item["metadata"]
        assert isinstance(metadata, dict)
        metadata["resourceVersion"] = str(self._version)
        await self._broadcast({"type": kind, "object": item})

    async def _broadcast(self, event: Object) -> None:
        async with self._news:
            self._history.append((self._version, orjson.loads(orjson.dumps(event))))
            self._news.notify_all()

    @asynccontextmanager
    async def served(self, tls: tuple[Path, Path] | None = None) -> AsyncIterator[int]:
        """The port."""
        app = Starlette(routes=[Route(_PATH, self._answer)])
        async with serving(app, tls) as port:
            try:
                yield port
            finally:
                await self.end()

    async def _answer(self, request: Request) -> Response:
        query = dict(request.query_params)
        verb: Literal["list", "watch"] = "watch" if query.get("watch") == "true" else "list"
        self.asked.append((verb, query))
        if self.refuse_with:
            return _status(self.refuse_with, "refused")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        if verb in self.forbidden_verbs:
            return _status(403, f"cannot {verb} endpointslices")
        return self._watch(query) if verb == "watch" else self._list(query)

    def _list(self, query: Mapping[str, str]) -> Response:
        first = int(query.get("continue") or 0)
        if first and self._lists_expired:
            self._lists_expired = False
            return _status(410, "the provided continue parameter is too old")
        chosen = [item for _, item in sorted(self._objects.items()) if _is_chosen(item, query)]
        last = first + min(int(query["limit"]), self.page_limit)
        more = str(last) if last < len(chosen) else ""
        metadata = {"resourceVersion": str(self._version), "continue": more}
        return JSONResponse({"metadata": metadata, "items": chosen[first:last] or None})

    def _watch(self, query: Mapping[str, str]) -> Response:
        version = int(query["resourceVersion"])
        if version < self._forgotten:
            gone = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
            return Response(orjson.dumps(gone) + b"\n")
        return StreamingResponse(self._events(version, query))

    async def _events(self, version: int, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """What happened before an end or a cut still goes out."""
        ends = len(self._ends)
        self.watching += 1
        try:
            while True:
                end = self._ends[ends] if len(self._ends) > ends else None
                last = end.version if end else self._version
                for at, event in list(self._history):
                    if version < at <= last and (line := _line(event, query)):
                        yield line
                if end and end.is_cut:
                    raise ConnectionResetError("the test cuts it")
                if end:
                    return
                version = last
                async with self._news:
                    while len(self._ends) == ends and self._version == version:
                        await self._news.wait()
        finally:
            self.watching -= 1


def _line(event: Object, query: Mapping[str, str]) -> bytes:
    if isinstance(raw := event.get("raw"), str):
        return raw.encode() + b"\n"
    item = event["object"]
    assert isinstance(item, dict)
    wanted = event["type"] == "BOOKMARK" and query.get("allowWatchBookmarks") == "true"
    return orjson.dumps(event) + b"\n" if wanted or _is_chosen(item, query) else b""


def _name(item: Object) -> str:
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["name"])


def _is_chosen(item: Object, query: Mapping[str, str]) -> bool:
    label, _, value = query["labelSelector"].partition("=")
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    return bool(metadata["labels"].get(label) == value)


def _status(code: int, message: str) -> Response:
    return JSONResponse({"kind": "Status", "code": code, "message": message}, code)
