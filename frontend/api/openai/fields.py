"""Fields of OpenAI's that this server does not act on."""

from __future__ import annotations

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.core.ignored_fields import Fields, Refusal, refused

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
_TOOLS = "is the older form of {}, which this server knows: send that"


def _modalities(value: Json) -> InvalidRequest | None:
    return None if value == ["text"] else InvalidRequest('modalities: only ["text"] is possible here')


def _function_call(value: Json) -> InvalidRequest | None:
    if value in ("auto", "none"):
        return None
    return InvalidRequest(f"function_call {_TOOLS.format('tool_choice')}")


REFUSED_IN_CHAT: dict[str, Refusal] = {
    "audio": refused("audio: no model of this server answers with sound"),
    "function_call": _function_call,
    "functions": refused(f"functions {_TOOLS.format('tools')}"),
    "modalities": _modalities,
}
_STREAM_OPTIONS = Fields({"include_usage"}, {"include_obfuscation"})
# A schema is always kept as far as it can be, whether it is strict or not.
_SCHEMA = Fields({"schema"}, {"name", "description", "strict"})
INNER_OF_COMPLETION = {"stream_options": _STREAM_OPTIONS}
INNER_OF_CHAT = {
    "stream_options": _STREAM_OPTIONS,
    "response_format": Fields({"type", "json_schema"}, inner={"json_schema": _SCHEMA}),
    "reasoning": Fields({"effort"}, {"summary"}),
}
# All that was thought is the summary.
INNER_OF_RESPONSES = {
    "stream_options": _STREAM_OPTIONS,
    "reasoning": Fields({"effort"}, {"summary", "generate_summary"}),
    "text": Fields(
        {"format", "verbosity"},
        inner={"format": Fields({"type", "schema"}, {"name", "description", "strict"})},
    ),
}
