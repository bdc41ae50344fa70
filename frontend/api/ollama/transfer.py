"""POST /api/pull and /api/push, and responses that report progress (ollama-contract.md, "Pull and push").

Weights are transferred by worker hosts only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from drover.errors import DroverError, InvalidRequest, NotTransferable
from drover.names import ModelName
from drover.v1 import host_pb2
from frontend.api.core.body import read_json
from frontend.api.core.go_json import Json, dumps
from frontend.api.core.request import NamedRequest, read_body
from frontend.api.core.typed_fields import Reader, boolean, text
from frontend.api.in_flight import until_client_leaves
from frontend.api.ollama.errors import error_object, error_response
from frontend.api.wire import ignored_header
from frontend.http.routes import direct_router
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel
from frontend.observability.request_record import record_of
from frontend.routing.hosts.stores import HostStores
from frontend.settings import FrontendSettings

# Without a charset, for errors too: upstream sets it before it knows the outcome.
_JSON = "application/json"
Step = Mapping[str, object]


@dataclass(slots=True)
class TransferRequest(NamedRequest):
    """The body of /api/pull and /api/push."""

    stream: bool = True
    insecure: bool = False


_TRANSFER: dict[str, Reader] = {"model": text, "name": text, "stream": boolean, "insecure": boolean}


def read_pull(body: Json) -> TransferRequest:
    return read_body(TransferRequest, body, "PullRequest", _TRANSFER)


def read_push(body: Json) -> TransferRequest:
    return read_body(TransferRequest, body, "PushRequest", _TRANSFER)


def progress(
    steps: Sequence[Step], stream: bool, error: DroverError | None = None, ignored: Sequence[str] = ()
) -> Response:
    """Stream a line per step, or send the last step only. `error`: follows the steps; without a step before
    it, it sets the status. `ignored`: names of what is accepted without effect.
    """
    if error is not None and not (stream and steps):
        return error_response(error, _JSON)
    if not stream:
        return Response(dumps(steps[-1]), media_type=_JSON, headers=ignored_header(ignored))
    lines = [dumps(step) + b"\n" for step in steps]
    if error is not None:
        lines.append(error_object(error) + b"\n")
    return StreamingResponse(iter(lines), media_type="application/x-ndjson", headers=ignored_header(ignored))


async def progress_of(
    http: Request,
    steps: AsyncGenerator[host_pb2.Progress, None],
    stream: bool,
    ignored: Sequence[str] = (),
) -> Response:
    """Stream a line per step of a host, or answer when all are done. An error that comes after the first step
    of a stream is its last line. `ignored`: as for `progress`.
    """
    headers = ignored_header(ignored)
    if stream:
        return StreamingResponse(_lines(http, steps), media_type="application/x-ndjson", headers=headers)
    last: Step = status("success")
    try:
        async with until_client_leaves(http.receive), aclosing(steps):
            async for step in steps:
                last = _step(step)
    except DroverError as error:
        record_of(http.scope).record_error(error)
        return error_response(error, _JSON)
    return Response(dumps(last), media_type=_JSON, headers=headers)


async def _lines(
    http: Request, steps: AsyncGenerator[host_pb2.Progress, None]
) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(steps):
            async for step in steps:
                yield dumps(_step(step)) + b"\n"
    except DroverError as error:
        record_of(http.scope).record_error(error)
        yield error_object(error) + b"\n"


def _step(progress: host_pb2.Progress) -> Step:
    """`completed` is missing while nothing is there, as upstream leaves out zeros."""
    if not progress.digest:
        return status(progress.status)
    layer = {"status": progress.status, "digest": progress.digest, "total": progress.total_bytes}
    return {**layer, "completed": progress.completed_bytes} if progress.completed_bytes else layer


def status(text: str) -> Step:
    return {"status": text}


_SHORT_DIGEST = 12


@dataclass(frozen=True, slots=True)
class Transfer:
    catalog: Catalog
    stores: HostStores
    settings: FrontendSettings

    async def pull(self, http: Request) -> Response:
        request = await read_json(http, self.settings, read_pull)
        name = ModelName.parse(request.wanted.strip())
        if name is None:
            raise InvalidRequest("invalid model name")
        model, error = await self._find(name)
        if self.stores.exist and (model is None or self.stores.has(name.key)):
            self.catalog.check_permitted(name, "pull")
            steps = self.stores.pull(name.short, name.key, request.insecure)
            return await progress_of(http, steps, request.stream)
        if error is not None:
            return _failed(http, request, [pulling()], error)
        return progress([pulling()] if model is None else _pulled(model), request.stream)

    async def push(self, http: Request) -> Response:
        request = await read_json(http, self.settings, read_push)
        if not request.wanted.strip():
            raise InvalidRequest("model is required")
        name = ModelName.parse(request.wanted.strip())
        if name is None:
            raise InvalidRequest("invalid model name")
        model, _ = await self._find(name)
        if self.stores.has(name.key):
            self.catalog.check_permitted(name, "push")
            steps = self.stores.push(name.short, name.key, request.insecure)
            return await progress_of(http, steps, request.stream)
        error = NotTransferable(
            f"model '{name.short}' not found"
            if model is None
            else "unauthorized: this server pushes to no registry; `ollama show --modelfile` prints what "
            "makes a preset elsewhere"
        )
        return _failed(http, request, [status("retrieving manifest")], error)

    async def _find(self, name: ModelName) -> tuple[CatalogModel | None, DroverError | None]:
        try:
            model = await self.catalog.find(name)
        except DroverError as error:
            return None, error
        return model, None if model is not None else no_such_weights(self.stores.exist)


def pulling() -> Step:
    return status("pulling manifest")


def no_such_weights(has_stores: bool) -> NotTransferable:
    """`has_stores`: worker hosts download models, but only when they are asked to pull them."""
    return NotTransferable(
        "pull model manifest: file does not exist (pull that model first: creating downloads nothing)"
        if has_stores
        else "pull model manifest: file does not exist (this server downloads nothing: it offers what its "
        "engine workers serve. Start one: python -m engine_worker --model MODEL --name NAME)"
    )


def _pulled(model: CatalogModel) -> Sequence[Step]:
    """The steps of a pull whose only layer is complete."""
    digest, size = model.digest, model.size_bytes
    layer = {"status": f"pulling {digest[:_SHORT_DIGEST]}", "digest": f"sha256:{digest}", "total": size}
    if size:
        layer["completed"] = size
    ends = [status(text) for text in ("verifying sha256 digest", "writing manifest", "success")]
    return [pulling(), layer, *ends]


def _failed(http: Request, request: TransferRequest, steps: Sequence[Step], error: DroverError) -> Response:
    record_of(http.scope).record_error(error)
    return progress(steps, request.stream, error)


def router(catalog: Catalog, stores: HostStores, settings: FrontendSettings) -> APIRouter:
    routes = direct_router()
    transfer = Transfer(catalog, stores, settings)
    routes.add_api_route("/api/pull", transfer.pull, methods=["POST"])
    routes.add_api_route("/api/push", transfer.push, methods=["POST"])
    return routes
