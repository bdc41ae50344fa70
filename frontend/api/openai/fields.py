"""Fields of OpenAI's API that this server ignores or refuses."""

from __future__ import annotations

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.core.ignored_fields import Fields, Refusal, refused

# Ignored without being named in X-Drover-Not-Honoured.
HARMLESS = frozenset(
    {
        "client_metadata",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }
)
_OLDER_FORM = "is the older form of {}, which this server knows: send that"


def _modalities(value: Json) -> InvalidRequest | None:
    return None if value == ["text"] else InvalidRequest('modalities: only ["text"] is possible here')


def _function_call(value: Json) -> InvalidRequest | None:
    if value in ("auto", "none"):
        return None
    return InvalidRequest(f"function_call {_OLDER_FORM.format('tool_choice')}")


REFUSED_IN_CHAT: dict[str, Refusal] = {
    "audio": refused("audio: no model of this server answers with sound"),
    "function_call": _function_call,
    "functions": refused(f"functions {_OLDER_FORM.format('tools')}"),
    "modalities": _modalities,
}
_STREAM_OPTIONS = Fields({"include_usage"}, {"include_obfuscation"})
# Schemas are always enforced as far as the engine can, whether `strict` or not.
_SCHEMA = Fields({"schema"}, {"name", "description", "strict"})
_STRUCTURAL_TAG = frozenset({"structures", "triggers", "at_least_one", "format"})
_RESPONSE_FORMAT = Fields({"type", "json_schema", *_STRUCTURAL_TAG}, inner={"json_schema": _SCHEMA})
INNER_OF_COMPLETION = {"stream_options": _STREAM_OPTIONS, "response_format": _RESPONSE_FORMAT}
INNER_OF_CHAT = {
    "stream_options": _STREAM_OPTIONS,
    "response_format": _RESPONSE_FORMAT,
    "reasoning": Fields({"effort"}, {"summary"}),
}
# The summary is always the complete reasoning.
INNER_OF_RESPONSES = {
    "stream_options": _STREAM_OPTIONS,
    "reasoning": Fields({"effort"}, {"summary", "generate_summary"}),
    "text": Fields(
        {"format", "verbosity"},
        inner={"format": Fields({"type", "schema"}, {"name", "description", "strict"})},
    ),
}
