"""What an Ollama host's refusal and a broken connection mean for a request of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import orjson

from drover.errors import (
    BodyTooLarge,
    CapabilityMissing,
    ContextExceeded,
    DroverError,
    EngineFailed,
    InvalidRequest,
    QueueFull,
    WorkerUnreachable,
)

_MOST_WORDS = 500


def refusal(status: int, body: bytes) -> DroverError:
    """The error for a status (ollama-contract.md, "Errors"); a model that is gone is the host's fault."""
    said = _said(body)
    match status:
        case 400 if "exceed" in said and "context" in said:
            return ContextExceeded(said)
        case 400 if "not support" in said:
            return CapabilityMissing(said)
        case 400:
            return InvalidRequest(said)
        case 404:
            return WorkerUnreachable(f"the Ollama host has no such model: {said}")
        case 413:
            return BodyTooLarge(said)
        case 501:
            return CapabilityMissing(said)
        case 429 | 503 if status == 429 or "busy" in said:
            return QueueFull()
        case 502 | 503:
            return WorkerUnreachable(f"the Ollama host cannot answer: {said}")
        case _:
            return EngineFailed(f"the Ollama host failed ({status}): {said}")


@contextmanager
def boundary() -> Iterator[None]:
    """HTTP's errors as leaves."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise WorkerUnreachable("the Ollama host does not answer") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise WorkerUnreachable("the connection to the Ollama host broke") from error


def _said(body: bytes) -> str:
    try:
        value = orjson.loads(body)
        text = str(value["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = body.decode(errors="replace")
    return text[:_MOST_WORDS]
