"""Converts an Ollama host's error responses and connection failures to error types of drover/errors.py."""

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

_MAX_CHARACTERS = 500
# OpenSSL's name for it, which httpx has in its text alone.
_REFUSED = "CERTIFICATE_VERIFY_FAILED"


def refusal(status: int, body: bytes) -> DroverError:
    """The error for a status (docs/reference/ollama-contract.md, "Errors"). A missing model is the host's
    fault.
    """
    message = _message(body)
    match status:
        case 400 if "exceed" in message and "context" in message:
            return ContextExceeded(message)
        case 400 if "not support" in message:
            return CapabilityMissing(message)
        case 400:
            return InvalidRequest(message)
        case 404:
            return WorkerUnreachable(f"the Ollama host has no such model: {message}")
        case 413:
            return BodyTooLarge(message)
        case 501:
            return CapabilityMissing(message)
        case 429 | 503 if status == 429 or "busy" in message:
            return QueueFull()
        case 502 | 503:
            return WorkerUnreachable(f"the Ollama host cannot answer: {message}")
        case _:
            return EngineFailed(f"the Ollama host failed ({status}): {message}")


@contextmanager
def boundary() -> Iterator[None]:
    """Error boundary around HTTP calls."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise WorkerUnreachable("the Ollama host does not answer") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        if _REFUSED in str(error):
            raise WorkerUnreachable(
                f"the Ollama host's certificate is not trusted (--ollama-authority): {error}"
            ) from error
        raise WorkerUnreachable("the connection to the Ollama host broke") from error


def _message(body: bytes) -> str:
    try:
        value = orjson.loads(body)
        text = str(value["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = body.decode(errors="replace")
    return text[:_MAX_CHARACTERS]
