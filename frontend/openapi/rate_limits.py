"""The 429 of the routes that a key's limits count."""

from __future__ import annotations

from collections.abc import Mapping

from drover.errors import RateLimited
from drover.json_value import Json
from frontend.middleware.rate_limits import COUNTED
from frontend.openapi.operations import REASONS, response
from frontend.openapi.schema import Schema, integer

_RETRY_AFTER: Schema = {
    "description": "Seconds after which the same request is admitted, if the key sends no others.",
    "required": True,
    "schema": integer(minimum=1),
}


def with_rate_limits(paths: Mapping[str, Json]) -> dict[str, Json]:
    """The same paths, with the 429 where it may come. Its body is that of the 400."""
    return {path: _limited(item) if path in COUNTED else item for path, item in paths.items()}


def _limited(item: Json) -> Json:
    assert isinstance(item, dict)
    post = item["post"]
    assert isinstance(post, dict)
    responses = post["responses"]
    assert isinstance(responses, dict)
    failed = responses["400"]
    assert isinstance(failed, dict)
    description = f"Too Many Requests:\n\n- {REASONS[RateLimited]}"
    refused = {**response(description, None, {"Retry-After": _RETRY_AFTER}), "content": failed["content"]}
    by_status = {**responses, "429": refused}
    return {
        **item,
        "post": {**post, "responses": {status: by_status[status] for status in sorted(by_status)}},
    }
