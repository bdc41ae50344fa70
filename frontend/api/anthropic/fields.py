"""Fields of Anthropic's that this server does not act on."""

from __future__ import annotations

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.core.ignored_fields import Fields, Refusal, refused

HARMLESS = frozenset(
    {
        "anthropic_beta",
        "anthropic_version",
        "betas",
        "billing_policy",
        "cache_control",
        "fallback_credit_token",
        "metadata",
        "service_tier",
        "user_profile_id",
        "workspace_id",
    }
)


def _thread(value: Json) -> InvalidRequest:
    """With these details Anthropic's SDKs go on with whole conversations."""
    if isinstance(value, dict) and value.get("type") == "continue":
        return InvalidRequest(
            f"thread: nothing is stored here, so {_quoted(value.get('previous_message_id'))} cannot be "
            "continued; send the whole conversation in messages",
            {"error_code": "thread_not_found"},
        )
    return InvalidRequest(
        "thread: nothing is stored here; send the whole conversation in messages",
        {"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
    )


def _quoted(value: Json) -> str:
    return f'"{value[:64]}"' if isinstance(value, str) and value else "a message"


REFUSED: dict[str, Refusal] = {
    "thread": _thread,
    "compaction": refused(
        "compaction: this server summarises no conversation; ask the model for a summary in a message"
    ),
    "container": refused("container: nothing is run or stored here, so there are no containers"),
    "mcp_servers": refused(
        "mcp_servers: this server connects to none; connect in the client and send their tools in tools"
    ),
}
_FORMAT = Fields({"type", "schema"}, {"name"})
INNER = {
    "thinking": Fields({"type"}),
    "output_config": Fields({"effort", "format"}, inner={"format": _FORMAT}),
    "output_format": _FORMAT,
}
