"""A model on an Ollama server over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping

import httpx
import orjson

from drover.errors import CapabilityMissing, EngineFailed, WorkerDraining
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.ollama import body as bodies
from frontend.routing.backends.ollama.address import HostedModel
from frontend.routing.backends.ollama.call import HostCall
from frontend.routing.backends.ollama.card import card, entry_of, loaded_sizes, unix_ns
from frontend.routing.backends.ollama.embeddings import embed_body, embeddings_body, embeddings_of
from frontend.routing.backends.ollama.events import Events, Line
from frontend.routing.backends.ollama.failures import boundary, refusal
from frontend.routing.backends.ollama.trail import Way

_CONNECT_SECONDS = 5.0
# The longest silence of a request: a large model is loaded before the first line. That the host is still
# there is seen by the polls, whose failure ends all of its requests at once.
_SILENCE_SECONDS = 900.0
_CONTROL_SECONDS = 10.0
_STOP_SECONDS = 3.0
_MOST_CONNECTIONS = 4096
_MOST_BODY_BYTES = 256 * 1024 * 1024
_REQUEST_ID = "x-request-id"
_JSON = {"content-type": "application/json"}
# Of polls: whether the model is still the same one.
_LOOKS_EVERY = 10
# Go's zero time and the years beyond a century stand for "never".
_NEVER_NS = 4_000_000_000 * 10**9


class OllamaWorker:
    """Implements frontend.routing.backends.base.Worker. One for each model of each host."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._hosted = HostedModel.parse(address)
        self._model = self._hosted.model.short
        self._told_digest: Json = None
        self._way = Way()
        self._calls: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(
            base_url=self._hosted.url,
            timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS, pool=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=_MOST_CONNECTIONS),
            trust_env=False,
            follow_redirects=False,
        )

    @property
    def address(self) -> str:
        return self._address

    @property
    def is_connected(self) -> bool:
        """Each request has a connection of its own, and nothing tells whether the next one will work."""
        return False

    def submit(self, request: pb.GenerateRequest, client_request_id: str) -> HostCall:
        """Raises CapabilityMissing for what the protocol cannot say, and WorkerUnreachable for a request that
        has come this way before.
        """
        route, body = bodies.route_and_body(request, self._model)
        headers = {_REQUEST_ID: client_request_id, **_JSON, **self._way.headers()}
        events = Events(bodies.not_honoured(request))
        return HostCall(self._client, route, body, headers, events, self._keep)

    async def embed(self, request: pb.EmbedRequest, client_request_id: str) -> pb.EmbedResponse:
        headers = {_REQUEST_ID: client_request_id}
        if request.HasField("normalize") and not request.normalize:
            answers = [
                await self._post(
                    "/api/embeddings", embeddings_body(request, text, self._model), headers=headers
                )
                for text in request.texts
            ]
            return embeddings_of([answer.get("embedding") for answer in answers], {})
        answer = await self._post("/api/embed", embed_body(request, self._model), headers=headers)
        return embeddings_of(answer.get("embeddings"), answer)

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        route, body = bodies.route_and_body(request, self._model)
        answer = await self._post(route, body | {"stream": False, "_debug_render_only": True})
        match answer.get("_debug_info"):
            case {"rendered_template": str(text)}:
                return pb.RenderResponse(text=text)
        raise CapabilityMissing("this Ollama host does not show prompts")

    async def tokenize(self, request: pb.TokenizeRequest) -> pb.TokenizeResponse:
        raise _no_tokens()

    async def detokenize(self, request: pb.DetokenizeRequest) -> pb.DetokenizeResponse:
        raise _no_tokens()

    async def load(self, request: pb.LoadRequest) -> pb.LoadResponse:
        keep_alive = request.keep_alive_ns if request.HasField("keep_alive_ns") else None
        await self._touch(keep_alive, _SILENCE_SECONDS)
        loaded = await self._loaded_entry(_CONTROL_SECONDS)
        return pb.LoadResponse(expires_unix_ns=_expiry(loaded) if loaded else 0)

    async def unload(self) -> pb.UnloadResponse:
        await self._touch(0, _CONTROL_SECONDS)
        return pb.UnloadResponse(loaded=False)

    async def model(self, timeout_seconds: float, verbose: bool = False) -> pb.Model:
        async with asyncio.timeout(timeout_seconds):
            show = await self._post("/api/show", {"model": self._model, "verbose": verbose})
            tag = await self._tag(timeout_seconds)
            version = await self._get("/api/version", timeout_seconds) or {}
            model = card(self._hosted, show, tag, str(version.get("version", "")))
            if loaded := await self._loaded_entry(timeout_seconds):
                model.loaded_size_bytes, model.loaded_vram_bytes = loaded_sizes(loaded)
        self._told_digest = (tag or {}).get("digest")
        return model

    async def watch_load(self, interval_seconds: float) -> AsyncGenerator[pb.LoadReport, None]:
        """Ollama tells nothing of its queue, so a report says no more than whether the model is loaded."""
        polls = 0
        while True:
            loaded = await self._loaded_entry(_CONTROL_SECONDS)
            yield pb.LoadReport(loaded=loaded is not None, expires_unix_ns=_expiry(loaded) if loaded else 0)
            await asyncio.sleep(interval_seconds)
            polls += 1
            if polls % _LOOKS_EVERY == 0:
                await self._check_same()

    async def close(self) -> None:
        for call in list(self._calls):
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=_STOP_SECONDS)
        await self._client.aclose()

    async def _check_same(self) -> None:
        """Raises WorkerDraining where the host has another model under that name now, or none."""
        tag = await self._tag(_CONTROL_SECONDS)
        if tag is None or tag.get("digest") != self._told_digest:
            raise WorkerDraining("the Ollama host has changed the model")

    async def _touch(self, keep_alive_ns: int | None, timeout_seconds: float) -> None:
        """A request without a prompt loads or unloads the model."""
        body: bodies.Body = {"model": self._model, "stream": False}
        if keep_alive_ns is not None:
            body["keep_alive"] = bodies.go_duration(keep_alive_ns)
        try:
            await self._post("/api/generate", body, timeout_seconds)
        except CapabilityMissing:
            await self._post("/api/embed", body | {"input": []}, timeout_seconds)

    async def _tag(self, timeout_seconds: float) -> Line | None:
        tags = await self._get("/api/tags", timeout_seconds) or {}
        return entry_of(tags.get("models"), self._hosted.model)

    async def _loaded_entry(self, timeout_seconds: float) -> Line | None:
        """None for a model that is not in memory; an empty one where the server does not tell."""
        running = await self._get("/api/ps", timeout_seconds)
        return {} if running is None else entry_of(running.get("models"), self._hosted.model)

    async def _get(self, path: str, timeout_seconds: float) -> Line | None:
        """None where the server has no such route: SGLang's own Ollama layer lacks some."""
        status, said = await self._exchange("GET", path, None, timeout_seconds)
        return None if status == 404 else _object(path, status, said)

    async def _post(
        self,
        path: str,
        body: Json,
        timeout_seconds: float = _SILENCE_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> Line:
        return _object(path, *await self._exchange("POST", path, body, timeout_seconds, headers))

    async def _exchange(
        self,
        method: str,
        path: str,
        body: Json,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body, which is bounded. Cancelling the caller ends the connection."""
        timeout = httpx.Timeout(timeout_seconds, connect=_CONNECT_SECONDS)
        said = bytearray()
        with boundary():
            async with self._client.stream(
                method, path, json=body, headers={**self._way.headers(), **(headers or {})}, timeout=timeout
            ) as response:
                async for chunk in response.aiter_bytes():
                    said += chunk
                    if len(said) > _MOST_BODY_BYTES:
                        raise EngineFailed("the Ollama host's answer is too long")
        return response.status_code, bytes(said)

    def _keep(self, call: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(call, name=f"read from {self._address}")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task


def _object(path: str, status: int, said: bytes) -> Line:
    """Raises the leaf of a refusal, and EngineFailed for what is no object."""
    if status != 200:
        raise refusal(status, said)
    try:
        answer = orjson.loads(said)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise EngineFailed(f"the Ollama host's {path} is no JSON object")
    return answer


def _no_tokens() -> CapabilityMissing:
    return CapabilityMissing("this model is on an Ollama server, whose protocol has no tokenizer")


def _expiry(entry: Line) -> int:
    """Unix time in ns; 0 is never."""
    expires = unix_ns(entry.get("expires_at"))
    return 0 if expires > _NEVER_NS else expires
