"""SGLang's form of /v1/score: how likely each of given tokens is as the next one after a text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.ignored_fields import Refusal, refused
from frontend.api.core.keep_alive import set_keep_alive
from frontend.api.core.request import check_count
from frontend.api.core.typed_fields import FieldPath, number
from frontend.api.decisions import MAX_PROMPT_BYTES
from frontend.api.scoring.fields import read_side
from frontend.api.scoring.service import short, usage
from frontend.api.tokens import token_ids
from frontend.decision.answer import Answer
from frontend.models.model import CatalogModel

MAX_ITEMS = 2_000
MAX_LABELS = 1_000
_ID_BYTES = 4
Text = str | list[int]
"""A text, or its token ids."""
_INSIDE = "reads or changes the numbers inside of the model, which workers do not give"
REFUSED: dict[str, Refusal] = {
    name: refused(f"{name} {_INSIDE}")
    for name in (
        "embed_override_token_id",
        "query_embed_overrides",
        "item_embed_overrides",
        "return_pooled_hidden_states",
        "score_extraction_token",
    )
}


@dataclass(frozen=True, slots=True)
class LabelRequest:
    """`labels`: one list for all items, or one for each; `temperature`: of the softmax over the labels; None:
    probabilities over the whole vocabulary.
    """

    query: Text
    items: Sequence[Text]
    labels: Sequence[list[int]]
    item_first: bool
    temperature: float | None
    with_logprobs: bool
    keep_alive: int | None

    @property
    def prompt_bytes(self) -> int:
        """Bytes of all prompts and labels, about: each prompt has the query. Raises InvalidRequest for more
        than a worker is sent.
        """
        items, labels = sum(map(_bytes_of, self.items)), sum(map(_bytes_of, self._labels_of_each()))
        size = len(self.items) * _bytes_of(self.query) + items + labels
        if size > MAX_PROMPT_BYTES:
            raise InvalidRequest(
                f"{len(self.items)} items with the query in front of each are {size} bytes of prompts, at "
                f"most {MAX_PROMPT_BYTES} are possible; send them in several requests"
            )
        return size

    def to_proto(self, model: CatalogModel) -> pb.ScoreRequest:
        """Raises InvalidRequest for texts together with token ids."""
        request = pb.ScoreRequest(model=model.info.names[0], adapter=model.adapter)
        for item, labels in zip(self.items, self._labels_of_each(), strict=True):
            prompt = _joined(item, self.query) if self.item_first else _joined(self.query, item)
            if isinstance(prompt, str):
                request.items.add(raw=prompt, label_ids=labels)
            else:
                request.items.add(tokens=pb.TokenIds(ids=prompt), label_ids=labels)
        set_keep_alive(request, self.keep_alive)
        return request

    def scores(self, model: str, response: pb.ScoreResponse) -> dict[str, object]:
        rows = [list(result.logprobs) for result in response.results]
        return {
            "scores": [[short(score) for score in self._scores(row)] for row in rows],
            **({"token_logprobs": [list(map(short, row)) for row in rows]} if self.with_logprobs else {}),
            "model": model,
            "usage": usage(response.prompt_tokens),
            "object": "scoring",
        }

    def _labels_of_each(self) -> Iterator[list[int]]:
        one = len(self.labels) == 1
        return (self.labels[0 if one else index] for index in range(len(self.items)))

    def _scores(self, logprobs: Sequence[float]) -> Sequence[float]:
        if self.temperature is None:
            return [math.exp(logprob) for logprob in logprobs]
        return Answer.of(logprobs, self.temperature).probabilities


def _bytes_of(text: Text) -> int:
    return len(text.encode()) if isinstance(text, str) else _ID_BYTES * len(text)


def _joined(first: Text, second: Text) -> Text:
    """Concatenate two texts or two lists of ids; an empty one counts as either."""
    if isinstance(first, str) and isinstance(second, str):
        return first + second
    if isinstance(first, list) and isinstance(second, list):
        return first + second
    if not first or not second:
        return first or second
    raise InvalidRequest("query and items: both must be texts, or both token ids")


def check_labels(
    items: Sequence[Text], labels: Sequence[list[int]], apply_softmax: bool, temperature: float
) -> None:
    """Raises InvalidRequest, in SGLang's words."""
    if not items:
        raise InvalidRequest("items must be provided")
    check_count("items", len(items), MAX_ITEMS)
    if len(labels) not in (1, len(items)):
        raise InvalidRequest("label_token_ids must have one list per item")
    if temperature != 1.0 and not apply_softmax:
        raise InvalidRequest("temperature requires apply_softmax=True")


def read_query(value: Json, path: FieldPath) -> Text:
    return value if isinstance(value, str) else token_ids(value, path)


def read_items(value: Json, path: FieldPath) -> list[Text]:
    """One text or several, or lists of token ids."""
    if isinstance(value, list) and value and all(map(_are_ids, value)):
        check_count(path.field, len(value), MAX_ITEMS)
        return [token_ids(item, path) for item in value]
    return [*read_side(value, path)]


def _are_ids(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def read_labels(value: Json, path: FieldPath) -> list[list[int]]:
    """A list of token ids for all items, or one for each. Raises InvalidRequest, in SGLang's words."""
    if not isinstance(value, list) or not value:
        raise InvalidRequest("label_token_ids must be a nonempty list")
    rows = value if all(isinstance(row, list) for row in value) else [value]
    check_count(path.field, len(rows), MAX_ITEMS)
    return [_labels(row, path) for row in rows]


def _labels(row: Json, path: FieldPath) -> list[int]:
    if not isinstance(row, list) or not row:
        raise InvalidRequest("each item must have a nonempty candidate list")
    if any(type(token) is not int or token < 0 for token in row):
        raise InvalidRequest("label_token_ids must contain nonnegative integers")
    check_count(path.field, len(row), MAX_LABELS)
    labels = token_ids(row, path)
    if len(set(labels)) != len(labels):
        raise InvalidRequest("label_token_ids must not contain duplicate tokens")
    return labels


def read_temperature(value: Json, path: FieldPath) -> float:
    temperature = number(value, path)
    if not 0 < temperature < math.inf:
        raise InvalidRequest("temperature must be finite and greater than zero")
    return temperature
