"""/v1/responses: what it answers."""

from __future__ import annotations

from collections.abc import Mapping

from frontend.openapi.schemas import (
    Schema,
    any_of,
    anything,
    array,
    boolean,
    integer,
    mapping,
    number,
    or_null,
    ref,
    struct,
    text,
)

_NULL: Schema = {"type": "null"}
_TOKENS = integer(minimum=0)
_TIME = integer("Unix time in seconds.", minimum=0)
_STATUS = text(enum=["in_progress", "completed", "incomplete"])
_ERROR = struct(
    {"code": text(enum=["server_error", "invalid_prompt"]), "message": text()}, ["code", "message"]
)
_SUMMARY = struct({"type": text(const="summary_text"), "text": text()}, ["type", "text"])
_PART: dict[str, Schema] = {
    "type": text(const="output_text"),
    "text": text(),
    "annotations": array({}, maxItems=0),
    "logprobs": array({}, maxItems=0),
}
_REASONING = struct(
    {
        "id": text(),
        "type": text(const="reasoning"),
        "summary": array(_SUMMARY, "All that was thought."),
        "encrypted_content": text("The same once more, as it is."),
    },
    ["id", "type", "summary"],
)
_MESSAGE: dict[str, Schema] = {
    "id": text(),
    "type": text(const="message"),
    "status": _STATUS,
    "role": text(const="assistant"),
    "content": array(ref("OutputText")),
}
_CALL: dict[str, Schema] = {
    "id": text(),
    "type": text(const="function_call"),
    "status": _STATUS,
    "call_id": text(),
    "name": text(),
    "arguments": text("An object, as a text of JSON."),
}
_ITEM = any_of(
    _REASONING,
    struct(_MESSAGE, [*_MESSAGE]),
    struct({**_CALL, "namespace": text("Of the function, if it is in one.")}, [*_CALL]),
)
_CACHE: dict[str, Schema] = {"cached_tokens": _TOKENS, "cache_write_tokens": integer(const=0)}
_USAGE: dict[str, Schema] = {
    "input_tokens": _TOKENS,
    "input_tokens_details": struct(_CACHE, [*_CACHE]),
    "output_tokens": _TOKENS,
    "output_tokens_details": struct({"reasoning_tokens": _TOKENS}, ["reasoning_tokens"]),
    "total_tokens": _TOKENS,
}
_RESPONSE: dict[str, Schema] = {
    "id": text(),
    "object": text(const="response"),
    "created_at": _TIME,
    "completed_at": or_null(_TIME),
    "status": text(enum=["in_progress", "completed", "incomplete", "failed"]),
    "incomplete_details": or_null(struct({"reason": text(const="max_output_tokens")}, ["reason"])),
    "output": array(ref("OutputItem"), "In the order in which they were made."),
    "error": or_null(_ERROR),
    "usage": or_null(struct(_USAGE, [*_USAGE])),
    "model": text("As it was sent."),
    "previous_response_id": _NULL,
    "instructions": or_null(text()),
    "tools": array(anything("As they were sent.")),
    "tool_choice": anything("As it was sent."),
    "truncation": text(enum=["auto", "disabled"]),
    "parallel_tool_calls": boolean(),
    "text": mapping({}),
    "top_p": number(),
    "presence_penalty": integer(const=0),
    "frequency_penalty": integer(const=0),
    "top_logprobs": integer(const=0),
    "temperature": number(),
    "reasoning": or_null(mapping({})),
    "max_output_tokens": or_null(integer()),
    "max_tool_calls": _NULL,
    "store": boolean(const=False),
    "background": boolean(),
    "service_tier": text(const="default"),
    "metadata": mapping({}),
    "safety_identifier": or_null(text()),
    "prompt_cache_key": or_null(text()),
}
_ITS_ITEM: dict[str, Schema] = {"item_id": text(), "output_index": integer(minimum=0)}
_IN_TEXT: dict[str, Schema] = {**_ITS_ITEM, "content_index": integer(const=0)}
_IN_SUMMARY: dict[str, Schema] = {**_ITS_ITEM, "summary_index": integer(const=0)}
_NO_LOGPROBS: dict[str, Schema] = {"logprobs": array({}, maxItems=0)}
_WHOLE: dict[str, Schema] = {"response": ref("Response")}
_ONE_ITEM: dict[str, Schema] = {"output_index": integer(minimum=0), "item": ref("OutputItem")}
_EVENTS: Mapping[str, dict[str, Schema]] = {
    "response.created": _WHOLE,
    "response.in_progress": _WHOLE,
    "response.output_item.added": _ONE_ITEM,
    "response.content_part.added": {**_IN_TEXT, "part": ref("OutputText")},
    "response.output_text.delta": {**_IN_TEXT, "delta": text(), **_NO_LOGPROBS},
    "response.output_text.done": {**_IN_TEXT, "text": text(), **_NO_LOGPROBS},
    "response.content_part.done": {**_IN_TEXT, "part": ref("OutputText")},
    "response.reasoning_summary_part.added": {**_IN_SUMMARY, "part": _SUMMARY},
    "response.reasoning_summary_text.delta": {**_IN_SUMMARY, "delta": text()},
    "response.reasoning_summary_text.done": {**_IN_SUMMARY, "text": text()},
    "response.reasoning_summary_part.done": {**_IN_SUMMARY, "part": _SUMMARY},
    "response.function_call_arguments.delta": {**_ITS_ITEM, "delta": text()},
    "response.function_call_arguments.done": {**_ITS_ITEM, "arguments": text()},
    "response.output_item.done": _ONE_ITEM,
    "response.completed": _WHOLE,
    "response.incomplete": _WHOLE,
    "response.failed": _WHOLE,
    "error": {"code": text(), "message": text(), "param": _NULL},
}


def _event(name: str, members: Mapping[str, Schema]) -> Schema:
    told: dict[str, Schema] = {"type": text(const=name), **members, "sequence_number": integer(minimum=0)}
    return struct(told, [*told])


EVENTS = any_of(
    *(_event(name, members) for name, members in _EVENTS.items()),
    about="The last one completes the response, or says why it is not complete.",
)
SCHEMAS: dict[str, Schema] = {
    "Response": struct(_RESPONSE, [*_RESPONSE]),
    "OutputItem": _ITEM,
    "OutputText": struct(_PART, [*_PART]),
}
