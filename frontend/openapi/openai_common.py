"""Fields, schemas and errors that the routes of OpenAI's API share."""

from __future__ import annotations

from frontend.api.openai.request import MAX_BIASES, MAX_CHOICES
from frontend.openapi.fields import KEEP_ALIVE, MODEL, TOKEN_ID
from frontend.openapi.operations import generation_errors
from frontend.openapi.schema import (
    Schema,
    any_of,
    anything,
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

SHARED_FIELDS: dict[str, Schema] = {
    "model": MODEL,
    "stream": boolean("Stream the answer as events; false returns one object.", default=False),
    "stream_options": request(
        {"include_usage": boolean("Send a further event with the token usage.", default=False)}
    ),
    "n": integer(
        "Number of choices, which run concurrently. With a `seed`, each choice after the first adds 1 to it.",
        minimum=1,
        maximum=MAX_CHOICES,
    ),
    "max_tokens": integer("Maximum number of generated tokens; 0 or less: ten times the context."),
    "temperature": number("Defaults to 1.0, whatever the model's own default is."),
    "top_p": number("Defaults to 1.0, whatever the model's own default is."),
    "seed": integer("Negative: a random seed for each request."),
    "frequency_penalty": number(),
    "presence_penalty": number(),
    "logit_bias": {
        "type": "object",
        "description": "Values to add to the logits of tokens, by token id. `X-Drover-Not-Honoured` names it "
        "if the engine does not support it.",
        "propertyNames": {"pattern": "^[0-9]{1,10}$"},
        "maxProperties": MAX_BIASES,
        "additionalProperties": number(minimum=-100, maximum=100),
    },
    "keep_alive": KEEP_ALIVE,
    "prompt_cache_key": anything("The same as `session_id`, if that is not sent."),
    "num_ctx": integer("An extension: number of tokens of the model's context that the request may use."),
    "options": ref("Options"),
}
TOKEN_IDS = array(TOKEN_ID, "Token ids.", minItems=1)
TEXTS = any_of(text(), array(text()))

USAGE = struct(
    {
        "prompt_tokens": integer("Each prompt counts once, whatever the number of its choices.", minimum=0),
        "completion_tokens": integer("Of all choices, including reasoning.", minimum=0),
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
GENERATION_ERRORS = generation_errors(ERROR)
