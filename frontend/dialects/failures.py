"""In whose words an error from outside an answer is told: those of the dialect whose path it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.responses import Response

from drover.errors import DroverError
from frontend.dialects.anthropic import errors as anthropic
from frontend.dialects.ollama import dialect as ollama
from frontend.dialects.openai import errors as openai

Wording = Callable[[DroverError], Response]

# The first prefix that fits decides.
_WORDINGS: Sequence[tuple[str, Wording]] = (
    ("/v1/messages", anthropic.error_response),
    ("/v1/", openai.error_response),
    ("", ollama.error_response),
)


def failure(path: str, error: DroverError) -> Response:
    return next(wording for prefix, wording in _WORDINGS if path.startswith(prefix))(error)
