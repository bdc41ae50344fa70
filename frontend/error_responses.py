"""In whose words an error from outside an answer is told: those of the dialect whose path it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.responses import Response

from drover.errors import DroverError
from frontend.api.anthropic import errors as anthropic
from frontend.api.ollama import errors as ollama
from frontend.api.openai import errors as openai

Wording = Callable[[DroverError, bool], Response]

# The first prefix that fits decides.
_WORDINGS: Sequence[tuple[str, Wording]] = (
    ("/v1/messages", lambda error, understood: anthropic.error_response(error, line_feed=understood)),
    ("/v1/", lambda error, understood: openai.error_response(error, line_feed=understood)),
    ("", lambda error, _: ollama.error_response(error)),
)


def failure(path: str, error: DroverError, understood: bool) -> Response:
    """Upstream ends a body with a line feed where its native routes failed, and with none where the layer
    around them did, which reads and converts the requests of /v1: `understood` says that it has.
    """
    return next(wording for prefix, wording in _WORDINGS if path.startswith(prefix))(error, understood)
