"""/v1/chat/completions and /v1/completions: what they answer."""

from __future__ import annotations

from collections.abc import Mapping

from frontend.openapi.schemas import Schema, array, integer, mapping, number, or_null, ref, struct, text

_REASONS = ("stop", "length")
_HEAD: dict[str, Schema] = {
    "id": text("Another one for each answer, the same in all its events."),
    "created": integer("Unix time in seconds.", minimum=0),
    "model": text("As it was sent."),
    "system_fingerprint": text(const="fp_ollama"),
}
_LOGPROBS = struct({"content": array(ref("OpenAILogprob"))}, ["content"])
_OLD_LOGPROBS = struct(
    {
        "tokens": array(text()),
        "token_logprobs": array(number()),
        "top_logprobs": array(mapping(number())),
        "text_offset": array(integer("In characters of the answer.", minimum=0)),
    },
    ["tokens", "token_logprobs", "top_logprobs", "text_offset"],
)
_INDEX = integer("Which choice.", minimum=0)
_CALL = struct(
    {
        "id": text(),
        "index": integer(minimum=0),
        "type": text(const="function"),
        "function": struct(
            {"name": text(), "arguments": text("An object as JSON; in a stream, a piece of it.")},
            ["arguments"],
        ),
    },
    ["index", "function"],
    "In a stream, id and name come with a call's first piece.",
)
_SAID: dict[str, Schema] = {
    "role": text(enum=["assistant", ""]),
    "content": text(),
    "reasoning": text("What the model thought, where it did."),
    "tool_calls": array(ref("OpenAIToolCall")),
}
_USAGE: dict[str, Schema] = {"usage": ref("Usage")}
_DEBUG: dict[str, Schema] = {
    "_debug_info": struct({"rendered_template": text("The prompt.")}, ["rendered_template"])
}


def _reason(*reasons: str) -> Schema:
    return or_null(text("Null while there is more to come.", enum=[*reasons, None]))


def _answer(
    kind: str, choice: Schema, required: Mapping[str, Schema], optional: Mapping[str, Schema]
) -> Schema:
    always: dict[str, Schema] = {**_HEAD, "object": text(const=kind), "choices": array(choice), **required}
    return struct({**always, **optional}, [*always])


def _chat_choice(name: str, said: Schema) -> Schema:
    reason = _reason(*_REASONS, "tool_calls")
    members: dict[str, Schema] = {"index": _INDEX, name: said, "finish_reason": reason}
    return struct({**members, "logprobs": _LOGPROBS}, [*members])


_TEXT_CHOICE = struct(
    {
        "text": text(),
        "index": _INDEX,
        "finish_reason": _reason(*_REASONS, "load", "unload"),
        "logprobs": _OLD_LOGPROBS,
    },
    ["text", "index", "finish_reason"],
)
_TOKEN: dict[str, Schema] = {
    "token": text(),
    "logprob": number(),
    "bytes": array(integer(minimum=0, maximum=255), "The token's UTF-8 bytes, where it has any."),
}

SCHEMAS: dict[str, Schema] = {
    "ChatCompletion": _answer(
        "chat.completion", _chat_choice("message", struct(_SAID, ["role", "content"])), _USAGE, _DEBUG
    ),
    "ChatCompletionChunk": _answer("chat.completion.chunk", _chat_choice("delta", struct(_SAID)), {}, _USAGE),
    "Completion": _answer("text_completion", _TEXT_CHOICE, _USAGE, {}),
    "CompletionChunk": _answer("text_completion", _TEXT_CHOICE, {}, _USAGE),
    "OpenAIToolCall": _CALL,
    "OpenAILogprob": struct(
        {**_TOKEN, "top_logprobs": array(ref("Alternative"))}, ["token", "logprob", "top_logprobs"]
    ),
}
