"""What the routes of OpenAI's dialect have in common."""

from __future__ import annotations

from drover.errors import ConstraintRejected, NotOffered
from frontend.openapi.fields import KEEP_ALIVE, MODEL, TOKEN_ID
from frontend.openapi.refusals import ENGINE, FINDING, READING, Leaf, refusals
from frontend.openapi.schemas import (
    Schema,
    any_of,
    array,
    boolean,
    integer,
    number,
    ref,
    request,
    struct,
    text,
)

ERROR = "OpenAIError"
MOST_CHOICES = 128
_MOST_BIASES = 1024

SAMPLED: dict[str, Schema] = {
    "model": MODEL,
    "stream": boolean("Whether the answer comes in events as it is made, or as one object.", default=False),
    "stream_options": request(
        {"include_usage": boolean("Whether one more event says how many tokens were used.", default=False)}
    ),
    "n": integer(
        "How many choices there are. They run at the same time. If there is a `seed`, each choice counts on "
        "from it.",
        minimum=1,
        maximum=MOST_CHOICES,
    ),
    "max_tokens": integer("Longest answer; 0 and less: what fits in ten contexts."),
    "temperature": number("Without it, 1.0, whatever the model's own is."),
    "top_p": number("Without it, 1.0, whatever the model's own is."),
    "seed": integer("Less than 0: another one for each request."),
    "frequency_penalty": number(),
    "presence_penalty": number(),
    "logit_bias": {
        "type": "object",
        "description": "What is added to the logits of tokens, by their ids. Where an engine cannot do that, "
        "`X-Drover-Not-Honoured` says so.",
        "propertyNames": {"pattern": "^[0-9]{1,10}$"},
        "maxProperties": _MOST_BIASES,
        "additionalProperties": number(minimum=-100, maximum=100),
    },
    "keep_alive": KEEP_ALIVE,
    "num_ctx": integer("An extension: how many tokens of the model's context the request may use."),
    "options": ref("Options"),
}
TOKEN_IDS = array(TOKEN_ID, "Token ids.", minItems=1)
TEXTS = any_of(text(), array(text()))

USAGE = struct(
    {
        "prompt_tokens": integer("Of each prompt once, however many choices it has.", minimum=0),
        "completion_tokens": integer("Of all choices, reasoning included.", minimum=0),
        "total_tokens": integer(minimum=0),
        "prompt_tokens_details": struct(
            {"cached_tokens": integer("Found in the prefix cache.", minimum=0)}, ["cached_tokens"]
        ),
        "completion_tokens_details": struct({"reasoning_tokens": integer(minimum=0)}, ["reasoning_tokens"]),
    },
    ["prompt_tokens", "completion_tokens", "total_tokens"],
)

SCHEMAS: dict[str, Schema] = {
    ERROR: struct(
        {
            "error": struct(
                {
                    "message": text("What is wrong, with which value, and what to do."),
                    "type": text(enum=["invalid_request_error", "not_found_error", "api_error"]),
                    "param": {"type": "null"},
                    "code": {"enum": ["model_not_found", "context_length_exceeded", None]},
                },
                ["message", "type", "param", "code"],
            )
        },
        ["error"],
    ),
    "Usage": USAGE,
}
GENERATING = refusals([*READING, *FINDING, *ENGINE, ConstraintRejected, NotOffered], error=ERROR)


def refused(*leaves: Leaf) -> dict[int, Schema]:
    """Of a route that finds a model and asks a worker."""
    return {**refusals([*READING, *FINDING, NotOffered, *leaves], error=ERROR)}
