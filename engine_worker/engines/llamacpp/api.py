"""The routes of the in-process llama-server that Drover uses, and the boundary for their errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TypedDict

import aiohttp
import orjson

from drover.errors import ContextExceeded, DroverError, EngineFailed, InvalidRequest
from engine_worker.engines.llamacpp.server import LlamaServer

Json = dict[str, object]
_DATA = b"data: "


class SlotState(TypedDict):
    id: int
    is_processing: bool


class LlamaApi:
    """No time-outs: a step can take as long as it takes, and cancelling closes the connection."""

    def __init__(self, server: LlamaServer) -> None:
        self._session = aiohttp.ClientSession(
            base_url=server.url,
            headers={"Authorization": f"Bearer {server.api_key}"},
            timeout=aiohttp.ClientTimeout(total=None),
            connector=aiohttp.TCPConnector(limit=0),
            json_serialize=lambda value: orjson.dumps(value).decode(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def properties(self) -> Json:
        async with self._session.get("/props") as response:
            return _object(await _read(response))

    async def slots(self) -> list[SlotState]:
        """Answered between two engine steps, so the answer is true."""
        async with self._session.get("/slots") as response:
            states: list[SlotState] = orjson.loads(await _read(response))
            return states

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        body = {"content": text, "add_special": add_special, "parse_special": True}
        answer = await self._post("/tokenize", body)
        ids = answer["tokens"]
        assert isinstance(ids, list)
        return ids

    async def detokenize(self, ids: Sequence[int]) -> str:
        answer = await self._post("/detokenize", {"tokens": list(ids)})
        return str(answer["content"])

    async def apply_template(self, messages: list[Json], tools: list[Json], add_prompt: bool) -> str:
        body: Json = {"messages": messages, "add_generation_prompt": add_prompt}
        if tools:
            body["tools"] = tools
        answer = await self._post("/apply-template", body)
        return str(answer["prompt"])

    async def embed(self, ids: list[int]) -> list[float]:
        """One vector, as the model makes it."""
        body = {"content": ids, "embd_normalize": -1, "cache_prompt": False}
        async with self._session.post("/embedding", json=body) as response:
            answer = orjson.loads(await _read(response))
        values: list[float] = answer[0]["embedding"][0]
        return values

    @asynccontextmanager
    async def complete(self, body: Json) -> AsyncGenerator[AsyncGenerator[list[Json], None], None]:
        """Streams a completion; each item is every chunk that had arrived. Leaving closes the connection."""
        try:
            async with self._session.post("/completion", json=body) as response:
                if response.status != 200:
                    raise _error(await response.read())
                yield _chunks(response)
        except aiohttp.ClientError as error:
            raise EngineFailed(f"llama.cpp broke off: {error}") from error

    async def _post(self, path: str, body: Json) -> Json:
        try:
            async with self._session.post(path, json=body) as response:
                return _object(await _read(response))
        except aiohttp.ClientError as error:
            raise EngineFailed(f"llama.cpp does not answer {path}: {error}") from error


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[list[Json], None]:
    rest = b""
    async for data in response.content.iter_any():
        *frames, rest = (rest + data).split(b"\n\n")
        chunks = [_object(frame[len(_DATA) :]) for frame in frames if frame.startswith(_DATA)]
        for frame in frames:
            if frame.startswith(b"error: "):
                raise _error(frame[len(b"error: ") :])
        if chunks:
            yield chunks


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = await response.read()
    if response.status != 200:
        raise _error(data)
    return data


def _object(data: bytes) -> Json:
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise EngineFailed(f"llama.cpp answered {type(value).__name__} where an object was due")
    if "error" in value:
        raise _error(data)
    return value


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
