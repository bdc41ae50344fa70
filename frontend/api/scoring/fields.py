"""Fields that the bodies of rerank, score and classify share: queries and documents as the servers of
rerankers take them (texts, objects with a text, lists of parts), and limits in tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.core.request import check_count
from frontend.api.core.typed_fields import FieldPath, integer

# Clients send whole collections at once; a larger one takes several requests.
MAX_TEXTS = 10_000
HARMLESS = frozenset({"user", "request_id", "rid"})
"""Fields without effect that are not named as ignored."""
WHOLE_CONTEXT = -1
_ONLY_TEXTS = "it must be a text, an object with a `text`, or a list of parts of type `text`"


def read_query(value: Json, path: FieldPath) -> str:
    """Raises InvalidRequest, in SGLang's words for an empty query."""
    query = _content(value, path.field)
    if not query:
        raise InvalidRequest("Query cannot be empty")
    if not query.strip():
        raise InvalidRequest("Query cannot be empty or whitespace only")
    return query


def read_documents(value: Json, path: FieldPath) -> list[Json]:
    """The documents, each as it was sent. Raises InvalidRequest for none or too many, or another value."""
    if value == "" or value == []:
        raise InvalidRequest("Documents cannot be empty")
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise InvalidRequest(f"{path.field}: it must be a list of documents")
    check_count(path.field, len(value), MAX_TEXTS)
    return value


def document_text(document: Json, rank_fields: Sequence[str], field: str) -> str:
    """Raises InvalidRequest, in SGLang's words for an empty document. `rank_fields`: names of the fields of
    an object that count, as Cohere has them.
    """
    if isinstance(document, dict) and rank_fields:
        text = _fields_as_lines(document, rank_fields, field)
    else:
        text = _content(document, field)
    if not text:
        raise InvalidRequest("Each document must be a non-empty string")
    if not text.strip():
        raise InvalidRequest("Each document cannot be empty or whitespace only")
    return text


def read_side(value: Json, path: FieldPath) -> list[str]:
    """One side of pairs to score: one text or several. Raises InvalidRequest for none, or another value."""
    items = value if isinstance(value, list) and not _are_parts(value) else [value]
    check_count(path.field, len(items), MAX_TEXTS)
    texts = [_content(item, path.field) for item in items]
    if not texts or not all(text.strip() for text in texts):
        raise InvalidRequest(f"{path.field}: each text must be a non-empty string")
    return texts


def token_limit(value: Json, path: FieldPath) -> int:
    """0 is no limit."""
    if (number := integer(value, path)) < 0:
        raise InvalidRequest(f"{path.field}: it is {number}, and must be 0 (no limit) or more")
    return number


def prompt_limit(value: Json, path: FieldPath) -> int:
    """WHOLE_CONTEXT is as much as the model takes."""
    if (number := integer(value, path)) < 1 and number != WHOLE_CONTEXT:
        raise InvalidRequest(
            f"{path.field}: it is {number}, and must be -1 (the model's context) or more than 0"
        )
    return number


def _are_parts(items: Sequence[Json]) -> bool:
    return bool(items) and all(isinstance(item, dict) and "type" in item for item in items)


def _content(value: Json, field: str) -> str:
    match value:
        case str():
            return value
        case {"type": _}:
            # A part, which stands in a list.
            pass
        case {"text": str(text)}:
            return text
        case {"content": (str() | list()) as content}:
            return _content(content, field)
        case list() if _are_parts(value):
            return " ".join(_part(part, field) for part in value)
        case {"image": _} | {"image_url": _}:
            raise _not_seen(field)
    raise InvalidRequest(f"{field}: {_ONLY_TEXTS}")


def _part(part: Json, field: str) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image_url" | "image" | "video_url" | "video"}:
            raise _not_seen(field)
    raise InvalidRequest(f"{field}: {_ONLY_TEXTS}")


def _not_seen(field: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: images and videos cannot be scored here; send texts")


def _fields_as_lines(document: dict[str, Json], names: Sequence[str], field: str) -> str:
    """The value of the only field, or a line `name: value` for each."""
    values = {name: document[name] for name in names if isinstance(document.get(name), str | int | float)}
    if not values:
        raise InvalidRequest(f"{field}: a document has none of the rank_fields {', '.join(names)}")
    if len(values) == 1:
        return str(next(iter(values.values())))
    return "\n".join(f"{name}: {value}" for name, value in values.items())
