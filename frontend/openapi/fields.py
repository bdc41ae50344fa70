"""Fields and objects that several requests, or several answers, have in common."""

from __future__ import annotations

from drover.json_value import Json
from frontend.openapi.schemas import (
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
OLD_NAME = text("What old clients send in place of `model`.")
STREAM = boolean("Whether the answer comes in lines as it is made, or as one object.", default=True)
KEEP_ALIVE: Schema = {
    "type": ["number", "string"],
    "description": "How long the model is wanted in memory after this request: seconds, or a duration like "
    "`5m` or `1h30m`. What is negative means for ever.",
    "pattern": r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$",
    "examples": ["5m", -1],
}
IMAGES = array({"type": ["string", "null"], "contentEncoding": "base64"}, "Standard base64, no `data:` URLs.")
TIME = text("RFC 3339.", format="date-time")
DURATION = integer("Nanoseconds.", minimum=1)
_UINT32 = 2**32 - 1
TOKEN_ID = integer(minimum=0, maximum=_UINT32)


def _whole(about: str, default: Json = None) -> Schema:
    """An option that is an integer; numbers with a fraction lose it."""
    return number(f"{about} A fraction is dropped.", **({} if default is None else {"default": default}))


def _started_with(about: str) -> str:
    return f"{about} A matter of how the worker was started: read, and named in `X-Drover-Not-Honoured`."


OPTIONS = request(
    {
        "temperature": number("0 always takes the likeliest token.", default=0.8),
        "top_k": _whole("0 and less: no limit.", 40),
        "top_p": number("1 and more: no limit.", default=0.9),
        "min_p": number(default=0.0),
        "typical_p": number(default=1.0),
        "repeat_penalty": number(default=1.0),
        "repeat_last_n": _whole("How many tokens the penalties look back on.", 64),
        "presence_penalty": number(default=0.0),
        "frequency_penalty": number(default=0.0),
        "seed": _whole("Less than 0: another one for each request.", -1),
        "num_predict": _whole("Longest answer in tokens; 0 and less: what fits in ten contexts."),
        "num_ctx": _whole("How many tokens of the model's context the request may use; at least 4."),
        "num_keep": _whole(
            "How many of the first tokens stay when the context is full; negative: all that fit.", 4
        ),
        "stop": array(text(), "Texts that end the answer; they are not part of it."),
        "num_batch": _whole(_started_with("Tokens per prefill step.")),
        "num_gpu": _whole(_started_with("Layers on a GPU.")),
        "main_gpu": _whole(_started_with("The GPU for small tensors.")),
        "num_thread": _whole(_started_with("Threads of the CPU.")),
        "draft_num_predict": _whole(_started_with("Tokens that a draft model is ahead.")),
        "use_mmap": boolean(_started_with("Whether the model's file is mapped.")),
    },
    about="Over the model's own defaults, which are over those named here. Other names mean nothing. A value "
    "of the wrong kind is answered with status 500, as Ollama does.",
)

_FUNCTION_CALL = request(
    {"index": integer(), "name": text(), "arguments": mapping({}, "An object, never a text of JSON.")}
)
_SENT_CALL = request({"id": text(), "function": ref("SentFunctionCall")})

MESSAGE = request(
    {
        "role": text("Usually system, user, assistant or tool; in any letter case.", examples=["user"]),
        "content": text(),
        "thinking": text("Thinking of an earlier answer."),
        "images": IMAGES,
        "tool_calls": array(or_null(ref("SentToolCall"))),
        "tool_name": text("Of a tool's message: the tool."),
        "tool_call_id": text("Of a tool's message: the call that it answers."),
    },
    about="A chat that ends with an assistant's message is continued there.",
)

ERROR = struct({"error": text("What is wrong, with which value, and what to do.")}, ["error"])

SCHEMAS: dict[str, Schema] = {
    "Options": OPTIONS,
    "Message": MESSAGE,
    "SentToolCall": _SENT_CALL,
    "SentFunctionCall": _FUNCTION_CALL,
    "Error": ERROR,
}
