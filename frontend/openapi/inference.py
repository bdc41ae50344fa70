"""/api/chat and /api/generate: what they take."""

from __future__ import annotations

from drover.errors import ConstraintRejected, NotOffered
from frontend.openapi.answers import (
    ANSWER_HEADERS,
    JSON,
    NDJSON,
    json_body,
    ok,
    operation,
)
from frontend.openapi.fields import IMAGES, KEEP_ALIVE, MODEL, STREAM, TOKEN_ID
from frontend.openapi.refusals import ENGINE, FINDING, READING, refusals
from frontend.openapi.schemas import (
    Schema,
    any_of,
    array,
    boolean,
    integer,
    mapping,
    or_null,
    ref,
    request,
    text,
)

MOST_MESSAGES = 20_000
MOST_TOOLS = 2_000

_COMMON: dict[str, Schema] = {
    "model": MODEL,
    "stream": STREAM,
    "format": any_of(
        {"enum": ["json", ""]},
        {"type": "object"},
        about="What the answer must look like: `json` for any JSON object, or a JSON schema. Objects in a "
        "schema have the properties that it lists and no others, unless it says something about others.",
    ),
    "options": ref("Options"),
    "keep_alive": KEEP_ALIVE,
    "think": any_of(
        {"type": "boolean"},
        {"enum": ["low", "medium", "high", "max"]},
        about="Whether the model thinks first, and how much. By default it does if it can.",
    ),
    "truncate": boolean("Whether what is too long for the context loses its oldest part.", default=True),
    "shift": boolean(
        "Whether an answer that fills the context goes on without the oldest tokens.", default=True
    ),
    "logprobs": boolean("Whether each token comes with its log probability.", default=False),
    "top_logprobs": integer(
        "With `logprobs`: how many alternatives for each token.", minimum=0, maximum=20, default=0
    ),
    "_debug_render_only": boolean("Whether only the prompt is made, and shown.", default=False),
}
_CHAT: dict[str, Schema] = {
    **_COMMON,
    "messages": array(
        or_null(ref("Message")),
        "Without any, the model is loaded, or unloaded if `keep_alive` is 0.",
        maxItems=MOST_MESSAGES,
        default=[],
    ),
    "tools": array(ref("Tool"), maxItems=MOST_TOOLS, default=[]),
}
_GENERATE: dict[str, Schema] = {
    **_COMMON,
    "prompt": text("If empty, the model is loaded, or unloaded if `keep_alive` is 0.", default=""),
    "suffix": text("What comes after the answer: the model fills in between.", default=""),
    "system": text("In place of the model's own system message.", default=""),
    "template": text("A Go template in place of the model's own.", default=""),
    "context": array(
        or_null(TOKEN_ID), "The `context` of an earlier answer, from which this prompt goes on.", default=[]
    ),
    "raw": boolean(
        "Whether the prompt goes to the model as it is. Then there must be no template, system or context.",
        default=False,
    ),
    "images": {**IMAGES, "default": []},
}

SCHEMAS: dict[str, Schema] = {
    "ChatRequest": request(_CHAT, ["model"]),
    "GenerateRequest": request(_GENERATE, ["model"]),
    "Tool": request(
        {"type": text(examples=["function"]), "function": ref("ToolFunction")},
        ["function"],
        description="A function. The shapes of the Responses API, of Anthropic and of MCP are taken too.",
    ),
    "ToolFunction": request(
        {
            "name": text(minLength=1),
            "description": text(),
            "parameters": mapping({}, "A JSON schema of the arguments."),
        },
        ["name"],
    ),
}


def _operation(operation_id: str, summary: str, name: str) -> Schema:
    streamed = any_of(
        ref(f"{name}Part"),
        ref(f"{name}End"),
        ref("Error"),
        about="One line. The last one is an end, or an error if the answer broke off.",
    )
    whole = any_of(ref(f"{name}End"), ref(f"{name}Loaded"), ref(f"{name}Rendered"))
    return operation(
        operation_id,
        "inference",
        summary,
        ok(
            "An answer: in lines, or whole if `stream` is false.",
            {NDJSON: streamed, JSON: whole},
            ANSWER_HEADERS,
        ),
        refusals([*READING, *FINDING, *ENGINE, ConstraintRejected, NotOffered]),
        body=json_body(ref(f"{name}Request")),
    )


PATHS: dict[str, Schema] = {
    "/api/chat": {"post": _operation("chat", "The next message of a conversation", "Chat")},
    "/api/generate": {"post": _operation("generate", "The answer to a prompt", "Generate")},
}
