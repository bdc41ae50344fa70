"""HTTP client of the llama-server child: the endpoints that Drover uses, and their errors."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TypedDict

import aiohttp
import orjson

from drover.errors import ContextExceeded, DroverError, EngineFailed, InvalidRequest
from engine_worker.prompt.arrangements import TemplateRefusal
from engine_worker.text_work import TextWork

JsonObject = dict[str, object]
_DATA = b"data: "
_LAST = b"data: [DONE]"
_END = b"\n\n"
_BYTES_OF_AN_ID = 8
# Requests that prepare prompts at the same time.
PREPARATIONS = 4
_CONTROL_TIMEOUT = aiohttp.ClientTimeout(total=60)
# The argument of a template's `raise_exception`, and the beginning of other errors within a template.
_RAISED = re.compile(r"Error: Jinja Exception: (.*)\Z", re.DOTALL)
_IN_TEMPLATE = "While executing "
_log = logging.getLogger("drover.worker")


class SlotState(TypedDict):
    id: int
    is_processing: bool


class _Properties(TypedDict):
    chat_template_caps: Mapping[str, bool]
    eos_token: str


class _Ranked(TypedDict):
    relevance_score: float


class _Usage(TypedDict):
    prompt_tokens: int


class _Ranking(TypedDict):
    results: list[_Ranked]
    usage: _Usage


class LlamaApi:
    """Completions have no deadline, and cancelling closes their connection; all other requests have one.

    Connections are not reused: llama-server closes idle ones, and a request sent at that moment is lost.
    """

    def __init__(self, url: str, api_key: str) -> None:
        # One of the preparations is reserved for a long text.
        self._texts = TextWork(PREPARATIONS - 1)
        self._session = aiohttp.ClientSession(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=aiohttp.ClientTimeout(total=None),
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            json_serialize=lambda value: orjson.dumps(value).decode(),
        )

    async def close(self) -> None:
        await self._texts.end()
        await self._session.close()

    async def slots(self) -> list[SlotState]:
        """The state of each slot. llama-server answers between two engine steps."""
        states: list[SlotState] = orjson.loads(await self._control("GET", "/slots"))
        return states

    async def metrics(self) -> str:
        """llama-server's own, in Prometheus' text format."""
        return (await self._control("GET", "/metrics")).decode()

    async def tokenize(self, text: str, add_special: bool, parse_special: bool = True) -> list[int]:
        """Tokenise a prompt's text; waits its turn in the queue of texts. `parse_special`: names of special
        tokens in the text are those tokens.
        """
        return await self._texts.run(
            len(text.encode()), lambda: self.tokenize_now(text, add_special, parse_special)
        )

    async def tokenize_now(self, text: str, add_special: bool, parse_special: bool = True) -> list[int]:
        """Tokenise an answer's text, ahead of the queue of texts."""
        body = {"content": text, "add_special": add_special, "parse_special": parse_special}
        ids = _object(await self._control("POST", "/tokenize", body))["tokens"]
        assert isinstance(ids, list)
        return ids

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids; waits its turn in the queue of texts."""
        return await self._texts.run(_BYTES_OF_AN_ID * len(ids), lambda: self.detokenize_now(ids))

    async def detokenize_now(self, ids: Sequence[int]) -> str:
        """The text of an answer's token ids, ahead of the queue of texts."""
        return str(_object(await self._control("POST", "/detokenize", {"tokens": list(ids)}))["content"])

    async def apply_template(self, turn: JsonObject) -> str:
        """The prompt that /v1/chat/completions renders for the same body.

        Raises TemplateRefusal for messages that the template does not accept.
        """
        data = await self._texts.run(
            len(orjson.dumps(turn)), lambda: self._control("POST", "/apply-template", turn, _template_error)
        )
        return str(_object(data)["prompt"])

    async def template_abilities(self) -> Mapping[str, bool]:
        """llama.cpp's findings about the chat template, by name."""
        return (await self._properties())["chat_template_caps"]

    async def end_token(self) -> int | None:
        """The model's end of sequence; None where it has none."""
        text = (await self._properties())["eos_token"]
        ids = await self.tokenize(text, add_special=False) if text else []
        return ids[0] if len(ids) == 1 else None

    async def _properties(self) -> _Properties:
        properties: _Properties = orjson.loads(await self._control("GET", "/props"))
        return properties

    async def embed(self, ids: list[int]) -> list[float]:
        """One vector, not normalised. Without the prompt cache, since cached tokens would not be pooled."""
        body = {"content": ids, "embd_normalize": -1, "cache_prompt": False}
        with _transport_errors("/embedding"):
            async with self._session.post("/embedding", json=body) as response:
                answer = orjson.loads(await _read(response, _error))
        values: list[float] = answer[0]["embedding"][0]
        return values

    async def rank(self, query: str, document: str) -> float:
        """How relevant a document is, as the model's last layer gives it."""
        return (await self._rerank(query, document))["results"][0]["relevance_score"]

    async def pair_tokens(self, query: str, document: str) -> int:
        """The number of tokens of a query and a document together."""
        return (await self._rerank(query, document))["usage"]["prompt_tokens"]

    async def _rerank(self, query: str, document: str) -> _Ranking:
        body = {"query": query, "documents": [document]}
        with _transport_errors("/rerank"):
            async with self._session.post("/rerank", json=body) as response:
                ranking: _Ranking = orjson.loads(await _read(response, _error))
        return ranking

    @asynccontextmanager
    async def stream(
        self, endpoint: str, body: JsonObject
    ) -> AsyncGenerator[AsyncGenerator[list[JsonObject], None], None]:
        """Stream an answer; each item is the list of chunks that arrived together. Leaving closes the
        connection, which cancels the request.
        """
        with _transport_errors(endpoint):
            async with self._session.post(endpoint, json=body) as response:
                if response.status != 200:
                    raise _error(await response.read())
                async with aclosing(chunks_of(response.content.iter_any())) as arrivals:
                    yield arrivals

    async def _control(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        error: Callable[[bytes], Exception] | None = None,
    ) -> bytes:
        """`error`: makes the exception of an answer with an error status."""
        with _transport_errors(path):
            async with self._session.request(method, path, json=body, timeout=_CONTROL_TIMEOUT) as response:
                return await _read(response, error or _error)


@contextmanager
def _transport_errors(path: str) -> Iterator[None]:
    """Log transport failures and raise them as EngineFailed."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as error:
        _log.warning("request to llama.cpp %s failed: %s", path, error or type(error).__name__)
        raise EngineFailed(f"llama.cpp did not answer {path}") from error


async def chunks_of(pieces: AsyncIterable[bytes]) -> AsyncGenerator[list[JsonObject], None]:
    """The chunks of a stream; each item is the list of those that ended in one piece."""
    # Of one frame. That of a whole vocabulary has megabytes, so only what is new is searched.
    rest: list[bytes] = []
    async for piece in pieces:
        is_over = not rest or _END in rest[-1][-1:] + piece
        rest.append(piece)
        if not is_over:
            continue
        *frames, last = b"".join(rest).split(_END)
        rest = [last] if last else []
        chunks = [
            _object(frame[len(_DATA) :])
            for frame in frames
            if frame.startswith(_DATA) and not frame.startswith(_LAST)
        ]
        for frame in frames:
            if frame.startswith(b"error: "):
                raise _error(frame[len(b"error: ") :])
        if chunks:
            yield chunks


async def _read(response: aiohttp.ClientResponse, error: Callable[[bytes], Exception]) -> bytes:
    data = await response.read()
    if response.status != 200:
        raise error(data)
    return data


def _object(data: bytes) -> JsonObject:
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise EngineFailed(f"llama.cpp answered with {type(value).__name__} instead of a JSON object")
    if "error" in value:
        raise _error(data)
    return value


def _template_error(data: bytes) -> Exception:
    """An error of /apply-template. llama.cpp's message has a source excerpt of the template, which is kept
    out of the error that clients get.
    """
    error = _error(data)
    if raised := _RAISED.search(error.message):
        return TemplateRefusal(raised.group(1).strip())
    if isinstance(error, InvalidRequest) and _IN_TEMPLATE not in error.message:
        return error
    return TemplateRefusal("", error.message)


def _error(data: bytes) -> DroverError:
    """llama-server's `{"error": {"code", "message", "type"}}` as a DroverError."""
    try:
        error = orjson.loads(data)
        error = error.get("error", error)
        message, code, kind = str(error["message"]), int(error["code"]), str(error.get("type", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return EngineFailed(f"llama.cpp failed: {data[:300].decode(errors='replace')}")
    if kind == "exceed_context_size_error":
        return ContextExceeded(message)
    return InvalidRequest(message) if code == 400 else EngineFailed(message)
