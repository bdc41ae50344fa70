"""/api/chat and /api/generate: what they answer."""

from __future__ import annotations

from collections.abc import Mapping

from frontend.openapi.fields import DURATION, TIME, TOKEN_ID
from frontend.openapi.schemas import Schema, array, integer, mapping, number, ref, struct, text

_TEXTS: dict[str, Schema] = {
    "thinking": text("What the model thought, where it did."),
    "tool_calls": array(ref("ToolCall"), "Whole calls."),
}
_HEAD: dict[str, Schema] = {"model": text("As it was sent."), "created_at": TIME}
_LOGPROBS = array(ref("Logprob"), "Where they were asked for.")
_CONTEXT = array(TOKEN_ID, "Tokens of the prompt and the answer. Not there for a raw request.")
_METRICS: dict[str, Schema] = {
    "total_duration": DURATION,
    "load_duration": DURATION,
    "prompt_eval_count": integer("Tokens of the prompt.", minimum=1),
    "prompt_eval_duration": DURATION,
    "eval_count": integer("Tokens of the answer, thinking included.", minimum=1),
    "eval_duration": DURATION,
}
_ROUTED: dict[str, Schema] = {
    "routed_model": text("Of a model that chooses between two: which one has answered."),
    "route_reason": text("Why that one."),
}
_MEASURED = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
_LOGPROB: dict[str, Schema] = {
    "token": text(),
    "logprob": number(),
    "bytes": array(integer(minimum=0, maximum=255), "The token's UTF-8 bytes, where it has any."),
}
_RENDERED = struct({"rendered_template": text("The prompt.")}, ["rendered_template"])


def _message(said: Mapping[str, Schema], role: str = "assistant") -> dict[str, Schema]:
    message: dict[str, Schema] = {"role": text(const=role), **said}
    return {"message": struct(message, ["role", "content"])}


def _answer(
    about: str, is_done: bool, said: Mapping[str, Schema], also: Mapping[str, Schema], *required: str
) -> Schema:
    """`said`: the members with the text, of which the first is always there."""
    done: dict[str, Schema] = {"done": {"type": "boolean", "const": is_done}}
    always = [*_HEAD, next(iter(said)), *done, *required]
    return struct({**_HEAD, **said, **done, **also}, always, about)


def _answers(
    name: str,
    said: Mapping[str, Schema],
    loaded: Mapping[str, Schema],
    rendered: Mapping[str, Schema],
    at_end: Mapping[str, Schema],
) -> dict[str, Schema]:
    """`loaded`, `rendered`: what is said where a model is only loaded, or a prompt only shown."""
    end = {
        "done_reason": text(enum=["stop", "length"]),
        **at_end,
        "logprobs": _LOGPROBS,
        **_METRICS,
        **_ROUTED,
    }
    reason = {"done_reason": text(enum=["load", "unload"])}
    return {
        f"{name}Part": _answer("A piece of an answer.", False, said, {"logprobs": _LOGPROBS}),
        f"{name}End": _answer(
            "The end of a stream, or a whole answer.", True, said, end, "done_reason", *_MEASURED
        ),
        f"{name}Loaded": _answer("To a request without a prompt.", True, loaded, reason, "done_reason"),
        f"{name}Rendered": _answer(
            "To `_debug_render_only`.", False, rendered, {"_debug_info": _RENDERED}, "_debug_info"
        ),
    }


_NO_CONTENT: dict[str, Schema] = {"content": text(const="")}
_NO_RESPONSE: dict[str, Schema] = {"response": text(const="")}

SCHEMAS: dict[str, Schema] = {
    **_answers(
        "Chat",
        _message({"content": text(), **_TEXTS}),
        _message(_NO_CONTENT),
        _message(_NO_CONTENT, role=""),
        {},
    ),
    **_answers("Generate", {"response": text(), **_TEXTS}, _NO_RESPONSE, _NO_RESPONSE, {"context": _CONTEXT}),
    "ToolCall": struct({"id": text(), "function": ref("FunctionCall")}, ["id", "function"]),
    "FunctionCall": struct(
        {"index": integer(minimum=0), "name": text(), "arguments": mapping({})},
        ["index", "name", "arguments"],
    ),
    "Logprob": struct(
        {**_LOGPROB, "top_logprobs": array(ref("Alternative"), "Where alternatives were asked for.")},
        ["token", "logprob"],
    ),
    "Alternative": struct(_LOGPROB, ["token", "logprob"]),
}
