"""Discovery of the workers behind a Kubernetes Service: lists and watches its EndpointSlices."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pydantic import BaseModel, Field, JsonValue, ValidationError

from drover import logs
from frontend.routing.discovery.kubernetes_api import ApiAway, ApiRefuses, ApiServer, Connection, Expired
from frontend.routing.discovery.kubernetes_service import Service
from frontend.routing.discovery.slice_schema import Slice, addresses_of

_log = logging.getLogger("drover.fleet")
_PAGE = "500"
_WATCH_SECONDS = (120, 180)
_FIRST_PAUSE_SECONDS = 0.1
# New workers must be found within five seconds after an outage of the API.
_MAX_PAUSE_SECONDS = 4.0
# A watch of this length counts as successful, even without an event.
_WORKED_SECONDS = 5.0


class _Metadata(BaseModel):
    name: str = ""
    version: str = Field(default="", alias="resourceVersion")
    more: str = Field(default="", alias="continue")


class _Envelope(BaseModel):
    metadata: _Metadata


class _Page(_Envelope):
    items: list[dict[str, JsonValue]] | None = None


class _Event(BaseModel):
    type: str
    object: dict[str, JsonValue]


class EndpointSlices:
    """Implements Discovery, for one Service. Needs a Role that allows list and watch of endpointslices in the
    Service's namespace.
    """

    def __init__(self, service: Service, api: ApiServer) -> None:
        self._service = service
        self._api = api
        self._namespace = service.namespace or api.namespace()
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{self._namespace}/endpointslices"
        self._selector = {"labelSelector": f"kubernetes.io/service-name={service.name}"}
        self._slices: dict[str, Slice | None] = {}
        self._failures = 0
        self._last_error = ""
        self._problems: dict[str, str] = {}

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        last: list[str] | None = None
        async with aclosing(self._changes()) as changes:
            async for _ in changes:
                slices = [held for held in self._slices.values() if held is not None]
                now = addresses_of(slices, self._service.port, frozenset(last or ()))
                if now != last:
                    last = now
                    yield now

    async def _changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever the slices may have changed. Never ends."""
        while True:
            try:
                async with (
                    self._api.connected() as connection,
                    aclosing(self._follow(connection)) as changes,
                ):
                    async for change in changes:
                        yield change
            except ApiAway as error:
                self._log_error(error)
            except ValidationError as error:
                self._log_error(ApiAway(f"this is no response of its API: {_first_problem(error)}"))
            await self._pause()

    async def _follow(self, connection: Connection) -> AsyncGenerator[None, None]:
        """List once, then watch from that version, until the API cannot continue from it."""
        version = await self._list(connection)
        yield
        while True:
            began = time.monotonic()
            query = {**self._selector, "resourceVersion": version, "allowWatchBookmarks": "true"}
            lines = connection.watch(self._path, query, random.randint(*_WATCH_SECONDS))
            async with aclosing(lines) as lines_of_events:
                async for line in lines_of_events:
                    if not line:
                        self._log_recovery()
                        continue
                    version = self._on_event(line) or version
                    self._failures = 0
                    yield
            if time.monotonic() - began > _WORKED_SECONDS:
                self._failures = 0
            else:
                await self._pause()

    async def _list(self, connection: Connection) -> str:
        """Read all pages and return their version. Known slices are replaced once the last page has come."""
        slices: dict[str, Slice | None] = {}
        query = {**self._selector, "limit": _PAGE}
        while True:
            page = _Page.model_validate_json(await connection.get(self._path, query))
            for item in page.items or ():
                self._put(slices, item)
            if not page.metadata.more:
                break
            query = {**query, "continue": page.metadata.more}
        self._slices = slices
        self._problems = {name: problem for name, problem in self._problems.items() if name in slices}
        return page.metadata.version

    def _on_event(self, line: bytes) -> str:
        """Apply an event. Returns the version after it, empty if it has none."""
        event = _Event.model_validate_json(line)
        if event.type == "ERROR":
            code, message = event.object.get("code"), str(event.object.get("message"))
            raise Expired(message) if code == 410 else ApiAway(message)
        metadata = _Envelope.model_validate(event.object).metadata
        if event.type == "DELETED":
            self._slices.pop(metadata.name, None)
            self._problems.pop(metadata.name, None)
        elif event.type in ("ADDED", "MODIFIED"):
            self._put(self._slices, event.object)
        return metadata.version

    def _put(self, slices: dict[str, Slice | None], item: dict[str, JsonValue]) -> None:
        """Parse a slice. If it is invalid, the last valid version of it stays."""
        name = _Envelope.model_validate(item).metadata.name
        known = self._slices.get(name)
        try:
            slices[name] = found = Slice.model_validate(item)
        except ValidationError as error:
            slices[name] = known
            problem = _first_problem(error)
        else:
            has_port = not found.endpoints or found.port_of(self._service.port) is not None
            problem = "" if has_port else f"it has no port {self._service.port}"
        self._log_problem(name, problem)

    def _log_problem(self, name: str, problem: str) -> None:
        """Log each problem of a slice once."""
        if problem and self._problems.get(name) != problem:
            logs.event(_log, logging.WARNING, "an EndpointSlice is not used", slice=name, reason=problem)
        self._problems[name] = problem

    def _log_recovery(self) -> None:
        if self._last_error:
            logs.event(_log, logging.INFO, "the Kubernetes API responds again", service=self._service.name)
            self._last_error = ""

    async def _pause(self) -> None:
        pause = min(_MAX_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10))
        self._failures += 1
        await asyncio.sleep(pause * random.uniform(0.5, 1))

    def _log_error(self, error: ApiAway) -> None:
        """Log each reason once. An expired version is normal operation."""
        if isinstance(error, Expired) or str(error) == self._last_error:
            return
        self._last_error = str(error)
        logs.event(
            _log,
            logging.ERROR if isinstance(error, ApiRefuses) else logging.WARNING,
            "workers cannot be read from the Kubernetes API",
            service=f"{self._service.name}.{self._namespace}",
            reason=self._help(error) if isinstance(error, ApiRefuses) else str(error),
        )

    def _help(self, error: ApiRefuses) -> str:
        if error.status == 401:
            return f"{error}: the service account's token is not accepted"
        return (
            f"{error}: the pod's service account needs a Role in namespace {self._namespace} with apiGroups "
            '["discovery.k8s.io"], resources ["endpointslices"], verbs ["list", "watch"], and a RoleBinding'
        )


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
