"""/v1/systemone and /v1/decisions."""

from __future__ import annotations

from drover.errors import NotOffered
from frontend.api.openai.decisions.request import MAX_QUESTIONS
from frontend.decision.question import MAX_OPTIONS
from frontend.openapi.fields import IMAGES, KEEP_ALIVE, MODEL
from frontend.openapi.openai_common import ERROR
from frontend.openapi.operations import (
    BODY_ERRORS,
    ENGINE_ERRORS,
    JSON,
    MODEL_ERRORS,
    NOT_HONOURED,
    error_responses,
    json_body,
    ok,
    operation,
)
from frontend.openapi.schema import (
    Schema,
    any_of,
    array,
    integer,
    mapping,
    number,
    or_null,
    ref,
    request,
    struct,
    text,
)

_PROBABILITY = number(minimum=0, maximum=1)
_CONFIDENCE = number("1 is certain, 0 is an even distribution.", minimum=0, maximum=1)
_SHARES = mapping(_PROBABILITY, "They add up to 1.")
_FILLED: Schema = any_of(
    text(minLength=1),
    {"type": "object", "minProperties": 1},
    array({}, minItems=1),
    about="A text, or JSON, which the model reads as compact text.",
)
_LEVELS = 26


def _question(kind: str, criteria: Schema, required: list[str]) -> Schema:
    fields: dict[str, Schema] = {"type": text(const=kind), "instructions": _FILLED, "criteria": criteria}
    return struct(fields, ["type", "instructions", *required])


_NOUL = _question(
    "noul",
    or_null(
        struct({"true": or_null(text()), "false": or_null(text())}, additionalProperties=False),
    ),
    [],
)
_CHOICE = _question(
    "choice",
    {
        "type": "object",
        "minProperties": 2,
        "maxProperties": _LEVELS,
        "propertyNames": {"minLength": 1},
        "additionalProperties": {"type": ["string", "null"]},
    },
    ["criteria"],
)
_SCORE = _question("score", array(text(), minItems=2, maxItems=_LEVELS), ["criteria"])
_PARTS = any_of(text(minLength=1), array(ref("DecisionPart"), minItems=1))
_SGLANG = (
    "SGLang's own request is taken at this path too: its questions have `id`, `question` and the type "
    "`yes_no`, and it may have `images`, `temperature`, `prompt_format_version` and "
    "`return_prompt_token_ids`. It gets SGLang's answer."
)

SCHEMAS: dict[str, Schema] = {
    "SystemOneRequest": request(
        {
            "model": MODEL,
            "state": _FILLED,
            "questions": {
                "type": "object",
                "description": "Questions by name.",
                "minProperties": 1,
                "maxProperties": 64,
                "additionalProperties": any_of(_NOUL, _CHOICE, _SCORE),
            },
            "images": {**IMAGES, "items": {"type": ["string", "null"], "minLength": 1}},
            "videos": array({}, "No model takes any.", maxItems=0),
            "keep_alive": KEEP_ALIVE,
        },
        ["model", "state", "questions"],
        "At most 64 KiB, or 32 MiB with images.",
    ),
    "SystemOneAnswer": struct(
        {
            "model": text("The model's name as requested."),
            "answers": mapping(
                any_of(
                    struct({"type": text(const="noul"), "noul": _PROBABILITY}, ["type", "noul"]),
                    struct(
                        {
                            "type": text(const="choice"),
                            "choice": text("The first of the most probable options."),
                            "probabilities": _SHARES,
                            "confidence": _CONFIDENCE,
                        },
                        ["type", "choice", "probabilities", "confidence"],
                    ),
                    struct(
                        {
                            "type": text(const="score"),
                            "score": number("The expected level."),
                            "legend": mapping(text()),
                            "probabilities": _SHARES,
                            "confidence": _CONFIDENCE,
                        },
                        ["type", "score", "legend", "probabilities", "confidence"],
                    ),
                ),
                "By the questions' names. `confidence` is 1 - H(p) / ln n.",
            ),
            "usage": struct(
                {
                    "input_tokens": integer("Of the prompts of all questions.", minimum=0),
                    "output_tokens": integer("Always 0: nothing is generated.", minimum=0),
                },
                ["input_tokens", "output_tokens"],
            ),
            "prompt_eval_cached_count": integer("Of the input tokens: found in the prefix cache.", minimum=0),
        },
        ["model", "answers", "usage", "prompt_eval_cached_count"],
    ),
    "DecisionPart": struct(
        {
            "type": text(enum=["input_text", "output_text", "text", "refusal", "input_image", "input_json"]),
            "text": text(),
            "refusal": text(),
            "image_url": text("A `data:` URL."),
            "data": {"description": "Any JSON."},
        },
        ["type"],
    ),
    "DecisionItem": struct(
        {
            "type": text("`message`, or a call or its output as in the Responses API.", default="message"),
            "role": text(enum=["user", "developer", "system", "assistant"]),
            "content": _PARTS,
            "call_id": text(),
            "name": text(),
            "arguments": text(),
            "input": text(),
            "output": _PARTS,
        },
        anyOf=[{"required": ["role", "content"]}, {"required": ["type", "call_id"]}],
    ),
    "DecisionQuestion": struct(
        {
            "type": text(enum=["predicate", "choice", "score"]),
            "name": {"type": ["string", "null"]},
            "instructions": _PARTS,
            "choices": array(
                struct({"value": {"type": ["string", "boolean"]}, "description": text()}, ["value"]),
                minItems=2,
                maxItems=MAX_OPTIONS,
            ),
            "levels": array(
                struct({"label": text(minLength=1), "description": text()}, ["label"]),
                minItems=2,
                maxItems=10,
            ),
        },
        ["type", "instructions"],
    ),
    "DecisionRequest": request(
        {
            "model": MODEL,
            "input": any_of(
                text(minLength=1),
                array(ref("DecisionItem"), minItems=1),
                about="A text, or a conversation, which the model reads as a transcript.",
            ),
            "questions": array(ref("DecisionQuestion"), minItems=1, maxItems=MAX_QUESTIONS),
            "keep_alive": KEEP_ALIVE,
        },
        ["model", "input", "questions"],
        _SGLANG,
    ),
    "DecisionAnswer": struct(
        {
            "model": text("The model's name as requested."),
            "answers": any_of(
                array(
                    {"type": "object"},
                    "In the order of the questions. SGLang's request gets an object by id.",
                ),
                {"type": "object"},
            ),
            "usage": {"type": "object"},
        },
        ["model", "answers", "usage"],
    ),
}

_ERRORS = [*BODY_ERRORS, *MODEL_ERRORS, *ENGINE_ERRORS, NotOffered]
_HEADERS: dict[str, Schema] = {"X-Drover-Not-Honoured": NOT_HONOURED}

PATHS: dict[str, Schema] = {
    "/v1/systemone": {
        "post": operation(
            "systemone",
            "decisions",
            "Answer questions about a state by the probabilities of labels (Ollama's route)",
            ok("The answers.", {JSON: ref("SystemOneAnswer")}, _HEADERS),
            error_responses(_ERRORS),
            body=json_body(ref("SystemOneRequest")),
        )
    },
    "/v1/decisions": {
        "post": operation(
            "decisions",
            "decisions",
            "Answer questions about an input by the probabilities of labels",
            ok("The answers.", {JSON: ref("DecisionAnswer")}, _HEADERS),
            error_responses(_ERRORS, error=ERROR),
            body=json_body(ref("DecisionRequest")),
        )
    },
}
