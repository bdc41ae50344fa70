"""/rerank, /score and /classify, also below /v1 and /v2."""

from __future__ import annotations

from drover.errors import NotOffered
from frontend.api.scoring.fields import MAX_TEXTS
from frontend.api.scoring.labels import MAX_ITEMS, MAX_LABELS
from frontend.api.scoring.rerank import MAX_RANK_FIELDS
from frontend.api.scoring.score import FIRST_SIDES, SECOND_SIDES
from frontend.openapi.fields import KEEP_ALIVE, TOKEN_ID
from frontend.openapi.openai_common import ERROR
from frontend.openapi.operations import (
    BODY_ERRORS,
    EMBEDDING_HEADERS,
    ENGINE_ERRORS,
    JSON,
    MODEL_ERRORS,
    error_responses,
    json_body,
    ok,
    operation,
)
from frontend.openapi.schema import (
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

COHERE_ERROR = "CohereError"
_TEXT = text(pattern=r"\S")
_PARTS = array(
    struct({"type": text(const="text"), "text": text()}, ["type", "text"]), "Joined with spaces.", minItems=1
)
_CONTENT = any_of(
    _TEXT,
    struct({"text": _TEXT, "type": {"not": {}}}, ["text"]),
    struct({"content": any_of(_TEXT, _PARTS)}, ["content"]),
    _PARTS,
)
_DOCUMENT = any_of(
    _TEXT,
    {
        "type": "object",
        "minProperties": 1,
        "description": "With a `text`, a `content` or the fields that `rank_fields` names.",
    },
    _PARTS,
)
_DOCUMENTS = any_of(text(minLength=1), array(_DOCUMENT, minItems=1, maxItems=MAX_TEXTS))
_LABELS = array(TOKEN_ID, minItems=1, maxItems=MAX_LABELS, uniqueItems=True)
_ID_LISTS = array(array(TOKEN_ID, minItems=1), minItems=1, maxItems=MAX_ITEMS)
_SIDE = any_of(_CONTENT, array(_CONTENT, minItems=1, maxItems=MAX_TEXTS))
_OPTIONAL_MODEL = text("The model's name. It may be left out where only one model of this server can do it.")
_PROMPT_LIMIT = any_of(
    integer(const=-1),
    integer(minimum=1),
    about="Most tokens of a query and a document, or of a text; -1: as many as the model takes.",
)
_SIDE_OF_CUT = text("Only the right, the end, can be cut; left is ignored.", pattern="^(?i:left|right)$")
_COMMON: dict[str, Schema] = {
    "model": _OPTIONAL_MODEL,
    "truncate_prompt_tokens": _PROMPT_LIMIT,
    "truncate": boolean("Cut texts that are too long; false makes them an error.", default=True),
    "use_activation": boolean(
        "False: the numbers of the model's last layer, before the function that maps them to 0 to 1.",
        default=True,
    ),
    "activation": boolean("The older name of use_activation.", default=True),
    "keep_alive": KEEP_ALIVE,
}
_PAIR_LIMITS: dict[str, Schema] = {
    "max_tokens_per_doc": integer("Most tokens of a document; 0: no further limit.", minimum=0, default=0),
    "max_tokens_per_query": integer("Most tokens of a query; 0: no further limit.", minimum=0, default=0),
}


def _given(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


_USAGE = struct(
    {"prompt_tokens": integer(minimum=0), "total_tokens": integer(minimum=0)},
    ["prompt_tokens", "total_tokens"],
)
_RANKED = struct(
    {
        "index": integer("The document's place in the request.", minimum=0),
        "relevance_score": number("Larger is more relevant."),
        "document": struct({"text": text()}, ["text"]),
    },
    ["index", "relevance_score"],
)
_TEI_RANKED = struct(
    {"index": integer(minimum=0), "score": number(), "text": text()},
    ["index", "score"],
)
_META = struct(
    {
        "billed_units": struct({"search_units": integer()}, ["search_units"]),
        "tokens": struct({"input_tokens": integer(minimum=0)}, ["input_tokens"]),
    },
    ["billed_units", "tokens"],
)
_RANKING: dict[str, Schema] = {
    "id": text(),
    "object": text(const="list"),
    "model": text("The model's name as requested."),
    "results": array(_RANKED, "The most relevant first."),
    "usage": _USAGE,
    "meta": _META,
}
_SCORED: dict[str, Schema] = {
    "index": integer(minimum=0),
    "object": text(const="score"),
    "score": number("Larger is more relevant."),
}
_SCORES: dict[str, Schema] = {
    "id": text(),
    "object": text(const="list"),
    "created": integer("Unix time in seconds.", minimum=0),
    "model": text("The model's name as requested."),
    "data": array(struct(_SCORED, [*_SCORED]), "In the order of the pairs."),
    "usage": _USAGE,
}
_LABEL_SCORES: dict[str, Schema] = {
    "scores": array(array(number()), "For each item, one for each label."),
    "token_logprobs": array(array(number())),
    "model": text("The model's name as requested."),
    "usage": _USAGE,
    "object": text(const="scoring"),
}
_CLASSIFIED: dict[str, Schema] = {
    "index": integer(minimum=0),
    "label": text("The likeliest class."),
    "probs": array(number(), "Of all classes, in the model's order."),
    "num_classes": integer(minimum=1),
}
_CLASSES: dict[str, Schema] = {
    **_SCORES,
    "data": array(struct(_CLASSIFIED, [*_CLASSIFIED]), "In the order of the inputs."),
    "usage": struct(
        {
            "prompt_tokens": integer(minimum=0),
            "total_tokens": integer(minimum=0),
            "completion_tokens": integer(const=0),
            "prompt_tokens_details": {"type": "null"},
        },
        ["prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details"],
    ),
}

SCHEMAS: dict[str, Schema] = {
    COHERE_ERROR: struct({"message": text("What is wrong, with which value, and what to do.")}, ["message"]),
    "RerankRequest": request(
        {
            **_COMMON,
            **_PAIR_LIMITS,
            "query": _CONTENT,
            "documents": _DOCUMENTS,
            "texts": {**_DOCUMENTS, "description": "TEI's name of `documents`; the response is TEI's too."},
            "top_n": integer("How many documents to return, the best ones; 0: all.", minimum=0, default=0),
            "return_documents": boolean(
                "Return the documents too. Default: true; on /v2/rerank false, as Cohere never returns them."
            ),
            "return_text": boolean("The same with `texts`.", default=False),
            "rank_fields": array(
                text(),
                "Fields of documents that are objects; these are compared.",
                maxItems=MAX_RANK_FIELDS,
            ),
            "truncation_side": _SIDE_OF_CUT,
            "truncation_direction": _SIDE_OF_CUT,
            "instruction": text("What the query is for, where the model's prompt has a place for it."),
            "instruct": text("SGLang's name of `instruction`."),
            "raw_scores": boolean("TEI's name of use_activation, with the opposite meaning.", default=False),
        },
        ["query"],
        anyOf=[_given("documents"), _given("texts")],
    ),
    "Ranking": struct(_RANKING, [*_RANKING]),
    "ScoreRequest": request(
        {
            **_COMMON,
            **_PAIR_LIMITS,
            **dict.fromkeys((*FIRST_SIDES, *SECOND_SIDES), _SIDE),
            "query": any_of(text(), array(TOKEN_ID), about="With labels, what stands before each item."),
            "items": any_of(_CONTENT, array(_CONTENT, minItems=1, maxItems=MAX_ITEMS), _ID_LISTS),
            "label_token_ids": any_of(
                _LABELS,
                array(_LABELS, minItems=1, maxItems=MAX_ITEMS),
                about="With them, the scores are how likely each of these tokens is after a text. One list "
                "for all items, or one for each.",
            ),
            "apply_softmax": boolean(
                "Of the labels among themselves; false: of the whole vocabulary.", default=False
            ),
            "temperature": number("Of that softmax.", exclusiveMinimum=0, default=1.0),
            "return_token_logprobs": boolean("Return the log probabilities of the labels.", default=False),
            "item_first": boolean("The query follows the item.", default=False),
        },
        about="Pairs of texts: one on the first side (text_1, queries, data_1, query) and one or several on "
        "the second (text_2, documents, items, data_2), or as many on each. Or, with label_token_ids, texts "
        "(query and items) of a model that generates.",
        anyOf=[
            _given("label_token_ids"),
            {
                "allOf": [
                    {"anyOf": [_given(name) for name in FIRST_SIDES]},
                    {"anyOf": [_given(name) for name in SECOND_SIDES]},
                ]
            },
        ],
    ),
    "Scores": struct(_SCORES, [*_SCORES]),
    "LabelScores": struct(_LABEL_SCORES, ["scores", "model", "usage", "object"]),
    "ClassifyRequest": request(
        {
            **_COMMON,
            "input": any_of(
                _TEXT,
                array(_TEXT, minItems=1, maxItems=MAX_TEXTS),
                array(TOKEN_ID, minItems=1),
                array(array(TOKEN_ID, minItems=1), minItems=1, maxItems=MAX_TEXTS),
                about="One text or several, or the token ids of one or several.",
            ),
        },
        ["input"],
    ),
    "Classes": struct(_CLASSES, [*_CLASSES]),
}
_ERROR_TYPES = [*BODY_ERRORS, *MODEL_ERRORS, *ENGINE_ERRORS, NotOffered]


def _operation(
    operation_id: str, summary: str, request_name: str, response: Schema, error: str = ERROR
) -> Schema:
    return {
        "post": operation(
            operation_id,
            "scoring",
            summary,
            ok("The result; nothing is generated.", {JSON: response}, EMBEDDING_HEADERS),
            error_responses(_ERROR_TYPES, error=error),
            body=json_body(ref(request_name)),
        )
    }


_RERANK = "Sort documents by their relevance to a query"
_SCORE = "Score how relevant one text is to another, or how likely tokens are after a text"
_EITHER_SCORES = any_of(
    ref("Scores"), ref("LabelScores"), about="The latter if the request has label_token_ids."
)
_CLASSIFY = "Put texts into the classes that a model was trained for"
_RANKINGS = any_of(ref("Ranking"), array(_TEI_RANKED), about="A list if the documents came as `texts`.")

PATHS: dict[str, Schema] = {
    "/rerank": _operation("rerankUnversioned", _RERANK, "RerankRequest", _RANKINGS),
    "/v1/rerank": _operation("rerank", _RERANK, "RerankRequest", _RANKINGS),
    "/v2/rerank": _operation("rerankV2", _RERANK, "RerankRequest", _RANKINGS, COHERE_ERROR),
    "/score": _operation("scoreUnversioned", _SCORE, "ScoreRequest", _EITHER_SCORES),
    "/v1/score": _operation("score", _SCORE, "ScoreRequest", _EITHER_SCORES),
    "/classify": _operation("classifyUnversioned", _CLASSIFY, "ClassifyRequest", ref("Classes")),
    "/v1/classify": _operation("classify", _CLASSIFY, "ClassifyRequest", ref("Classes")),
}
