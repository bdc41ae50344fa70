"""Backend for a model on an Ollama server, over HTTP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from pathlib import Path

import httpx
import orjson

from drover.errors import CapabilityMissing, EngineFailed, WorkerDraining
from drover.json_value import Json
from drover.tls.files import load_authority
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.ollama import body as bodies
from frontend.routing.backends.ollama.address import HostedModel
from frontend.routing.backends.ollama.call import HostCall
from frontend.routing.backends.ollama.decisions import scores_of, systemone_body
from frontend.routing.backends.ollama.embeddings import embed_body, embeddings_body, embeddings_of
from frontend.routing.backends.ollama.events import Events, Line
from frontend.routing.backends.ollama.failures import boundary, refusal
from frontend.routing.backends.ollama.loop_guard import Hop
from frontend.routing.backends.ollama.model_info import entry_of, loaded_sizes, model_of, unix_ns

_CONNECT_SECONDS = 5.0
# Longest silence of a request, as a large model is loaded before the first line. A lost host is noticed by
# the polls, whose failure ends all of its requests at once.
_SILENCE_SECONDS = 900.0
_CONTROL_SECONDS = 10.0
_STOP_SECONDS = 3.0
_MAX_CONNECTIONS = 4096
_MAX_BODY_BYTES = 256 * 1024 * 1024
_REQUEST_ID = "x-request-id"
_JSON = {"content-type": "application/json"}
# Polls of the load per check that the host still has the same model.
_POLLS_PER_CHECK = 10
# Go's zero time and the years beyond a century stand for "never".
_NEVER_NS = 4_000_000_000 * 10**9


class OllamaWorker:
    """Implements frontend.routing.backends.base.Worker. One for each model of each host.

    `authority`: a PEM file with authorities of hosts, in addition to the public ones. Raises ValueError if it
    cannot be used.
    """

    def __init__(self, address: str, authority: str = "") -> None:
        self._address = address
        self._hosted = HostedModel.parse(address)
        self._model = self._hosted.model.short
        self._digest: Json = None
        self._hop = Hop()
        self._calls: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(
            base_url=self._hosted.url,
            timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS, pool=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS),
            trust_env=False,
            verify=_trusted(authority),
            follow_redirects=False,
        )

    @property
    def address(self) -> str:
        return self._address

    @property
    def is_connected(self) -> bool:
        """False: each request has its own connection, whose state says nothing about the host."""
        return False

    def submit(self, request: pb.GenerateRequest, client_request_id: str) -> HostCall:
        """Raises CapabilityMissing for what the protocol lacks, and WorkerUnreachable for a request that has
        taken this hop before.
        """
        route, body = bodies.route_and_body(request, self._model)
        headers = {**_headers(request, client_request_id), **_JSON, **self._hop.headers()}
        events = Events(bodies.not_honoured(request))
        return HostCall(self._client, route, body, headers, events, self._spawn)

    async def embed(self, request: pb.EmbedRequest, client_request_id: str) -> pb.EmbedResponse:
        headers = _headers(request, client_request_id)
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

    async def score(self, request: pb.ScoreRequest, client_request_id: str) -> pb.ScoreResponse:
        body = systemone_body(request, self._model)
        answer = await self._post("/v1/systemone", body, headers=_headers(request, client_request_id))
        return scores_of(body, answer)

    async def rerank(self, request: pb.RerankRequest, client_request_id: str) -> pb.RerankResponse:
        raise CapabilityMissing("this model is on an Ollama server, whose protocol cannot rerank")

    async def classify(self, request: pb.ClassifyRequest, client_request_id: str) -> pb.ClassifyResponse:
        raise CapabilityMissing("this model is on an Ollama server, whose protocol cannot classify")

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
            model = model_of(self._hosted, show, tag, str(version.get("version", "")))
            if loaded := await self._loaded_entry(timeout_seconds):
                model.loaded_size_bytes, model.loaded_vram_bytes = loaded_sizes(loaded)
        self._digest = (tag or {}).get("digest")
        return model

    async def watch_load(self, interval_seconds: float) -> AsyncGenerator[pb.LoadReport, None]:
        """Poll `/api/ps`. Ollama does not report its queue: a report has only whether the model is loaded."""
        polls = 0
        while True:
            loaded = await self._loaded_entry(_CONTROL_SECONDS)
            yield pb.LoadReport(loaded=loaded is not None, expires_unix_ns=_expiry(loaded) if loaded else 0)
            await asyncio.sleep(interval_seconds)
            polls += 1
            if polls % _POLLS_PER_CHECK == 0:
                await self._check_same()

    async def put_adapter(self, parts: AsyncIterator[pb.AdapterPart]) -> pb.PutAdapterResponse:
        raise CapabilityMissing("models of an Ollama host take no adapters")

    async def delete_adapter(self, digest: str) -> None:
        """An Ollama host has none."""

    async def close(self) -> None:
        for call in list(self._calls):
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=_STOP_SECONDS)
        await self._client.aclose()

    async def _check_same(self) -> None:
        """Raises WorkerDraining if the host has another model under this name now, or none."""
        tag = await self._tag(_CONTROL_SECONDS)
        if tag is None or tag.get("digest") != self._digest:
            raise WorkerDraining("the Ollama host has changed the model")

    async def _touch(self, keep_alive_ns: int | None, timeout_seconds: float) -> None:
        """Load or unload the model, by a request without a prompt."""
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
        """The model's entry in `/api/ps`: None if it is not loaded, empty if the server lacks the route."""
        running = await self._get("/api/ps", timeout_seconds)
        return {} if running is None else entry_of(running.get("models"), self._hosted.model)

    async def _get(self, path: str, timeout_seconds: float) -> Line | None:
        """None if the server lacks the route, as SGLang's own Ollama layer lacks some."""
        status, body = await self._exchange("GET", path, None, timeout_seconds)
        return None if status == 404 else _object(path, status, body)

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
        """Status and body, of limited size. Cancelling the caller closes the connection."""
        timeout = httpx.Timeout(timeout_seconds, connect=_CONNECT_SECONDS)
        content = bytearray()
        with boundary():
            async with self._client.stream(
                method, path, json=body, headers={**self._hop.headers(), **(headers or {})}, timeout=timeout
            ) as response:
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _MAX_BODY_BYTES:
                        raise EngineFailed("the Ollama host's response is too large")
        return response.status_code, bytes(content)

    def _spawn(self, call: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(call, name=f"read from {self._address}")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task


def _headers(
    request: pb.GenerateRequest | pb.EmbedRequest | pb.ScoreRequest, client_request_id: str
) -> dict[str, str]:
    """Ollama ignores the trace context; a gateway in front of it, or another Drover, continues the trace."""
    return {**request.trace_context, _REQUEST_ID: client_request_id}


def _object(path: str, status: int, body: bytes) -> Line:
    """Parse a response. Raises the error of a refusal, and EngineFailed if it is no JSON object."""
    if status != 200:
        raise refusal(status, body)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise EngineFailed(f"the Ollama host's response to {path} is not a JSON object")
    return answer


def _no_tokens() -> CapabilityMissing:
    return CapabilityMissing("this model is on an Ollama server, whose protocol has no tokenizer")


def _expiry(entry: Line) -> int:
    """Unix time in ns, 0 for never."""
    expires = unix_ns(entry.get("expires_at"))
    return 0 if expires > _NEVER_NS else expires


def _trusted(authority: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    if authority:
        load_authority(context, Path(authority))
    return context
