"""Answers that tell of progress: a line for each step, or the last one alone.

Contract: ollama-contract.md, "Pull and push".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import Response, StreamingResponse

from drover.errors import DroverError
from frontend.api.core.go_json import dumps
from frontend.api.ollama.errors import error_object, error_response

# Without a charset, and for errors too: upstream sets it before it knows what comes.
_JSON = "application/json"
Step = Mapping[str, object]


def progress(steps: Sequence[Step], stream: bool, error: DroverError | None = None) -> Response:
    """`error`: what came after the steps. It has a status of its own where nothing was sent before it."""
    if error is not None and not (stream and steps):
        return error_response(error, _JSON)
    if not stream:
        return Response(dumps(steps[-1]), media_type=_JSON)
    lines = [dumps(step) + b"\n" for step in steps]
    if error is not None:
        lines.append(error_object(error) + b"\n")
    return StreamingResponse(iter(lines), media_type="application/x-ndjson")


def status(text: str) -> Step:
    return {"status": text}
