"""Requests with different salts never share cached prefixes, on every engine."""

from __future__ import annotations

from drover.v1 import engine_pb2 as pb
from tests.support.engine_client import EngineClient

_LONG = "The quick brown fox jumps over the lazy dog. " * 6


async def _cached_tokens(engine: EngineClient, text: str, salt: str) -> int:
    request = pb.GenerateRequest(sampling=pb.Sampling(temperature=0, max_tokens=2), cache_salt=salt)
    request.chat.messages.add(role="user", content=text)
    _, done = await engine.text(request)
    return done.cached_tokens


async def test_a_salt_is_a_cache_of_its_own(engine: EngineClient) -> None:
    text = f"salted {_LONG}"
    first = await _cached_tokens(engine, text, "one")
    again = await _cached_tokens(engine, text, "one")
    other = await _cached_tokens(engine, text, "two")
    plain = await _cached_tokens(engine, text, "")
    plain_again = await _cached_tokens(engine, text, "")

    # What all chats of a model begin with may be cached before.
    assert again > first + 20
    assert other <= 20
    assert plain <= first + 20
    assert plain_again > 20
