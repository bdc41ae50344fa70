"""The end of background responses whose frontend has stopped."""

from __future__ import annotations

import orjson

from drover.json_value import Json
from frontend.api.core.go_json import dumps
from frontend.models.running_responses import Progress, RunningResponses
from frontend.models.stored_responses import StoredResponse

_ERROR: Json = {
    "code": "server_error",
    "message": "the server that ran this response has stopped; send the request again",
}


async def end_lost(running: RunningResponses, response: StoredResponse) -> None:
    """Store that it has failed, unless it has ended meanwhile. Raises StoreUnavailable."""
    failed = {**orjson.loads(response.document), "status": "failed", "error": _ERROR}
    await running.end(Progress(response.id, "failed"), dumps(failed), response.runner)
