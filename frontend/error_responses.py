"""Chooses the error format of a failed request by its path."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.responses import Response

from drover.errors import DroverError
from frontend.api.anthropic import errors as anthropic
from frontend.api.ollama import errors as ollama
from frontend.api.openai import errors as openai
from frontend.api.openai.responses import errors as responses
from frontend.api.scoring import errors as cohere

ErrorFormat = Callable[[DroverError, bool], Response]

# Routes with the statuses of the Responses API.
_RESPONSES = frozenset({"/v1/responses", "/v1/responses/compact", "/v1/responses/input_tokens"})
# The first matching prefix decides.
_FORMATS: Sequence[tuple[str, ErrorFormat]] = (
    # Ollama's route, under /v1.
    ("/v1/systemone", lambda error, _: ollama.error_response(error)),
    ("/v1/messages", lambda error, is_native: anthropic.error_response(error, line_feed=is_native)),
    ("/v2/", lambda error, _: cohere.error_response(error)),
    *(
        (prefix, lambda error, is_native: openai.error_response(error, line_feed=is_native))
        for prefix in ("/v1/", "/rerank", "/score", "/classify")
    ),
    ("", lambda error, _: ollama.error_response(error)),
)


def failure(path: str, error: DroverError, is_native: bool) -> Response:
    """The response to a request that failed before it had one.

    Upstream converts the requests of /v1 in a middleware around its native routes. `is_native`: the failure
    came after that, and the body ends with a line feed as those of its native routes.
    """
    if path in _RESPONSES:
        return responses.failure(error, line_feed=is_native)
    return next(respond for prefix, respond in _FORMATS if path.startswith(prefix))(error, is_native)
