"""Reading a JSON body of /v1, where two things differ from the native routes.

Contract: ollama-contract.md, "Reading a request".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from drover.aside import aside
from drover.errors import InvalidRequest
from frontend.dialects.ollama.body import INLINE_BYTES
from frontend.dialects.ollama.go_json import Json, loads
from frontend.security.body import read_body
from frontend.security.held_bodies import held_body_of
from frontend.security.zstd_body import MAX_UNPACKED_BYTES, unpacked
from frontend.settings import FrontendSettings
from frontend.telemetry.request_log import record_of

Wanted = TypeVar("Wanted")


async def read_v1_json(
    request: Request, settings: FrontendSettings, read: Callable[[Json], Wanted]
) -> Wanted:
    """The first JSON value as what `read` makes of it. The body may be zstd, and "EOF" says that it is empty.

    Raises InvalidRequest, BodyTooLarge, DeadlineExceeded, ClientLeft, QueueFull.
    """
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_seconds)
    if request.headers.get("content-encoding", "").strip().lower() == "zstd":
        packed = body
        body = await aside(lambda: unpacked(packed), MAX_UNPACKED_BYTES, INLINE_BYTES)
        held_body_of(request.scope).grow(len(body))
    wanted = await aside(lambda: read(_parsed(body)), len(body), INLINE_BYTES)
    record_of(request.scope).is_understood = True
    return wanted


def _parsed(body: bytes) -> Json:
    if not body.strip():
        raise InvalidRequest("EOF")
    return loads(body)
