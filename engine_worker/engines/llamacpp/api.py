"""The routes of the llama-server beside this process that Drover uses, and the boundary for their errors."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TypedDict

import aiohttp
import orjson

from drover.errors import ContextExceeded, DroverError, EngineFailed, InvalidRequest
from engine_worker.engines.llamacpp.server import PREPARATIONS, LlamaServer
from engine_worker.prompt.arrangements import TemplateRefusal
from engine_worker.text_work import TextWork

Json = dict[str, object]
_DATA = b"data: "
_LAST = b"data: [DONE]"
_BYTES_OF_AN_ID = 8
_CONTROL_TIMEOUT = aiohttp.ClientTimeout(total=60)
# What `raise_exception` of a template was given, and how errors within a template begin.
_RAISED = re.compile(r"Error: Jinja Exception: (.*)\Z", re.DOTALL)
_IN_TEMPLATE = "While executing "
_log = logging.getLogger("drover.worker")


class SlotState(TypedDict):
    id: int
    is_processing: bool


class _Properties(TypedDict):
    chat_template_caps: Mapping[str, bool]
    eos_token: str


class LlamaApi:
    """Completions take as long as they take, and cancelling closes their connection; all else has a deadline.

    Connections are not reused: llama-server closes idle ones, and a request on one that it is about to close
    would be lost.
    """

    def __init__(self, server: LlamaServer) -> None:
        # One is for a long text.
        self._texts = TextWork(PREPARATIONS - 1)
        self._session = aiohttp.ClientSession(
            base_url=server.url,
            headers={"Authorization": f"Bearer {server.api_key}"},
            timeout=aiohttp.ClientTimeout(total=None),
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            json_serialize=lambda value: orjson.dumps(value).decode(),
        )

    async def close(self) -> None:
        await self._texts.end()
        await self._session.close()

    async def slots(self) -> list[SlotState]:
        """Answered between two engine steps, so the answer is true."""
        states: list[SlotState] = orjson.loads(await self._control("GET", "/slots"))
        return states

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        """In its turn among a client's texts."""
        return await self._texts.run(len(text.encode()), lambda: self.tokenize_now(text, add_special))

    async def tokenize_now(self, text: str, add_special: bool) -> list[int]:
        """Of an answer on its way, which waits for no prompt."""
        body = {"content": text, "add_special": add_special, "parse_special": True}
        ids = _object(await self._control("POST", "/tokenize", body))["tokens"]
        assert isinstance(ids, list)
        return ids

    async def detokenize(self, ids: Sequence[int]) -> str:
        """In its turn among a client's texts."""
        return await self._texts.run(_BYTES_OF_AN_ID * len(ids), lambda: self.detokenize_now(ids))

    async def detokenize_now(self, ids: Sequence[int]) -> str:
        """Of an answer on its way, which waits for no prompt."""
        return str(_object(await self._control("POST", "/detokenize", {"tokens": list(ids)}))["content"])

    async def apply_template(self, turn: Json) -> str:
        """The prompt that /v1/chat/completions would make of the same body. Raises TemplateRefusal for
        messages that the template does not accept.
        """
        data = await self._texts.run(
            len(orjson.dumps(turn)), lambda: self._control("POST", "/apply-template", turn, _template_error)
        )
        return str(_object(data)["prompt"])

    async def template_abilities(self) -> Mapping[str, bool]:
        """What llama.cpp has found out about the chat template."""
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
        """One vector, as the model makes it. A cached beginning would not be pooled, so there is no cache."""
        body = {"content": ids, "embd_normalize": -1, "cache_prompt": False}
        with _boundary("/embedding"):
            async with self._session.post("/embedding", json=body) as response:
                answer = orjson.loads(await _read(response, _error))
        values: list[float] = answer[0]["embedding"][0]
        return values

    @asynccontextmanager
    async def stream(self, route: str, body: Json) -> AsyncGenerator[AsyncGenerator[list[Json], None], None]:
        """Streams an answer; each item is every chunk that had arrived. Leaving closes the connection."""
        with _boundary(route):
            async with self._session.post(route, json=body) as response:
                if response.status != 200:
                    raise _error(await response.read())
                async with aclosing(_chunks(response)) as arrivals:
                    yield arrivals

    async def _control(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        error: Callable[[bytes], Exception] | None = None,
    ) -> bytes:
        """`error`: what to raise for an answer that says that something is wrong."""
        with _boundary(path):
            async with self._session.request(method, path, json=body, timeout=_CONTROL_TIMEOUT) as response:
                return await _read(response, error or _error)


@contextmanager
def _boundary(path: str) -> Iterator[None]:
    """The transport's failures as a leaf of ours; their details are for the log."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as error:
        _log.warning("llama.cpp, %s: %s", path, error or type(error).__name__)
        raise EngineFailed(f"llama.cpp did not answer {path}") from error


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[list[Json], None]:
    rest = b""
    async for data in response.content.iter_any():
        *frames, rest = (rest + data).split(b"\n\n")
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


def _object(data: bytes) -> Json:
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise EngineFailed(f"llama.cpp answered {type(value).__name__} where an object was due")
    if "error" in value:
        raise _error(data)
    return value


def _template_error(data: bytes) -> Exception:
    """llama.cpp tells where in the template something failed, in words that are not for its clients."""
    error = _error(data)
    if raised := _RAISED.search(error.message):
        return TemplateRefusal(raised.group(1).strip())
    if isinstance(error, InvalidRequest) and _IN_TEMPLATE not in error.message:
        return error
    return TemplateRefusal("", error.message)


def _error(data: bytes) -> DroverError:
    """llama-server's `{"error": {"code", "message", "type"}}` as a leaf of ours."""
    try:
        error = orjson.loads(data)
        error = error.get("error", error)
        message, code, kind = str(error["message"]), int(error["code"]), str(error.get("type", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return EngineFailed(f"llama.cpp failed: {data[:300].decode(errors='replace')}")
    if kind == "exceed_context_size_error":
        return ContextExceeded(message)
    return InvalidRequest(message) if code == 400 else EngineFailed(message)
