"""Fields and objects that several requests or responses share."""

from __future__ import annotations

from drover.json_value import Json
from drover.ollama_options import UINT32_MAX
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
DURATION = integer("Nanoseconds.", minimum=1)
TOKEN_ID = integer(minimum=0, maximum=UINT32_MAX)


def _whole(about: str, default: Json = None) -> Schema:
    """An integer option. A number with a fraction is truncated."""
    return number(f"{about} Fractions are truncated.", **({} if default is None else {"default": default}))


def _worker_setting(about: str) -> str:
    return f"{about} Set when the worker starts; ignored here and named in `X-Drover-Not-Honoured`."


OPTIONS = request(
    {
        "temperature": number("0 always takes the most likely token.", default=0.8),
        "top_k": _whole("0 or less: no limit.", 40),
        "top_p": number("1 or more: no limit.", default=0.9),
        "min_p": number(default=0.0),
        "typical_p": number(default=1.0),
        "repeat_penalty": number(default=1.0),
        "repeat_last_n": _whole("Number of recent tokens that the penalties consider.", 64),
        "presence_penalty": number(default=0.0),
        "frequency_penalty": number(default=0.0),
        "seed": _whole("Negative: a random seed for each request.", -1),
        "num_predict": _whole("Maximum number of generated tokens; 0 or less: ten times the context."),
        "num_ctx": _whole("Number of tokens of the model's context that the request may use; at least 4."),
        "num_keep": _whole(
            "Number of leading tokens that are kept when the context is full; negative: all that fit.", 4
        ),
        "stop": array(text(), "Texts that end the generation; they are not part of the output."),
        "num_batch": _whole(_worker_setting("Tokens per prefill step.")),
        "num_gpu": _whole(_worker_setting("Layers on a GPU.")),
        "main_gpu": _whole(_worker_setting("The GPU for small tensors.")),
        "num_thread": _whole(_worker_setting("Threads of the CPU.")),
        "draft_num_predict": _whole(_worker_setting("Tokens that a draft model predicts ahead.")),
        "use_mmap": boolean(_worker_setting("Map the model's file into memory.")),
    },
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
