"""Fields and objects that several requests or responses share."""

from __future__ import annotations

from drover import ollama_options
from drover.ollama_options import UINT32_MAX, Kind, OllamaOption, Scope
from frontend.openapi.schema import (
    Schema,
    array,
    boolean,
    integer,
    mapping,
    number,
    or_null,
    ref,
    request,
    struct,
    text,
)

MODEL = text(
    "`[host/][namespace/]model[:tag]`, in any letter case; `:latest` may be left out.",
    examples=["smollm2:135m"],
)
OLD_NAME = text("What old clients send instead of `model`.")
STREAM = boolean("Stream the response line by line; false returns one object.", default=True)
KEEP_ALIVE: Schema = {
    "type": ["number", "string"],
    "description": "How long the model stays in memory after this request: seconds, or a duration like `5m` "
    "or `1h30m`. A negative value means for ever.",
    "pattern": r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$",
    "examples": ["5m", -1],
}
IMAGES = array({"type": ["string", "null"], "contentEncoding": "base64"}, "Standard base64, no `data:` URLs.")
TIME = text("RFC 3339.", format="date-time")
EFFORT = (
    "How much a model with the thinking capability thinks: one of its names (`thinking.values` of "
    "`/api/show`), or `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`, for which the nearest "
    "name is taken. Another word means the model's default."
)
DURATION = integer("Nanoseconds.", minimum=1)
TOKEN_ID = integer(minimum=0, maximum=UINT32_MAX)


def _option(option: OllamaOption) -> Schema:
    about, more = option.about, {} if option.default is None else {"default": option.default}
    if option.scope is Scope.LOADING:
        about += " Set when the worker starts; ignored here and named in `X-Drover-Not-Honoured`."
    if option.kind is Kind.INTEGER:
        about += " Fractions are truncated."
    match option.kind:
        case Kind.FLOAT | Kind.INTEGER:
            return number(about, **more)
        case Kind.BOOLEAN:
            return boolean(about)
        case Kind.TEXTS:
            return array(text(), about)


OPTIONS = request(
    {option.name: _option(option) for option in ollama_options.OPTIONS},
    about="They override the model's own defaults, which override the defaults given here. Unknown names are "
    "ignored. A value of the wrong type gets status 500, as in Ollama.",
)

_FUNCTION_CALL = request(
    {"index": integer(), "name": text(), "arguments": mapping({}, "An object, not a string with JSON.")}
)
_SENT_CALL = request({"id": text(), "function": ref("SentFunctionCall")})

MESSAGE = request(
    {
        "role": text("Usually system, user, assistant or tool, in any letter case.", examples=["user"]),
        "content": text(),
        "thinking": text("The thinking of an earlier answer."),
        "images": IMAGES,
        "tool_calls": array(or_null(ref("SentToolCall"))),
        "tool_name": text("In a tool's message: the tool's name."),
        "tool_call_id": text("In a tool's message: the id of the call that it answers."),
    },
    about="If the last message is the assistant's, the model continues it.",
)

ERROR = struct({"error": text("What is wrong, with which value, and what to do.")}, ["error"])

SCHEMAS: dict[str, Schema] = {
    "Options": OPTIONS,
    "Message": MESSAGE,
    "SentToolCall": _SENT_CALL,
    "SentFunctionCall": _FUNCTION_CALL,
    "Error": ERROR,
}
