"""What the bodies of rerank, score and classify have in common: limits in tokens, harmless fields."""

from __future__ import annotations

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.core.typed_fields import FieldPath, integer

HARMLESS = frozenset({"user", "request_id", "rid"})
WHOLE_CONTEXT = -1


def token_limit(value: Json, path: FieldPath) -> int:
    """0 is no limit."""
    if (number := integer(value, path)) < 0:
        raise InvalidRequest(f"{path.field}: it is {number}, and must be 0 (no limit) or more")
    return number


def prompt_limit(value: Json, path: FieldPath) -> int:
    """WHOLE_CONTEXT is as much as the model takes."""
    if (number := integer(value, path)) < 1 and number != WHOLE_CONTEXT:
        raise InvalidRequest(
            f"{path.field}: it is {number}, and must be -1 (the model's context) or more than 0"
        )
    return number
