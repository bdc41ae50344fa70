"""References within a schema: by pointer, by anchor, and to a definition of an embedded schema."""

from __future__ import annotations

import pytest

from drover.errors import ConstraintRejected
from engine_worker.schemas.references import References

Json = dict[str, object]
_TEXT: Json = {"type": "string"}
_ROOT: Json = {
    "$id": "https://example.com/root",
    "$defs": {"text": _TEXT, "a/b": _TEXT, "50%": _TEXT, "named": {"$anchor": "here", **_TEXT}},
    "anyOf": [{"type": "null"}, {"$dynamicAnchor": "there", **_TEXT}],
    "properties": {"embedded": {"definitions": {"inner": _TEXT}}},
}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/text"},
        {"$ref": "https://example.com/root#/$defs/text"},
        {"$ref": "#/$defs/a~1b"},
        {"$ref": "#/$defs/50%25"},
        {"$ref": "#/anyOf/1"},
        {"$ref": "#here"},
        {"$dynamicRef": "#there"},
        # Its pointer starts at the schema that was embedded.
        {"$ref": "#/definitions/inner"},
    ],
)
def test_a_reference_leads_to_its_schema(schema: Json) -> None:
    (target,) = References(_ROOT).targets(schema)
    assert isinstance(target, dict)
    assert target["type"] == "string"


def test_the_whole_schema_is_a_target() -> None:
    assert References(_ROOT).targets({"$ref": "#", "$recursiveRef": "#"}) == [_ROOT, _ROOT]
    assert References(_ROOT).targets({"type": "string"}) == []


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (5, "`\\$ref` must be a string, not 5"),
        ("https://example.com/other#/$defs/text", "leads out of the schema"),
        ("other.json", "leads out of the schema"),
        ("#nowhere", "leads nowhere"),
        ("#/anyOf/2", "leads nowhere"),
        ("#/anyOf/x", "leads nowhere"),
        ("#/$defs/text/type/more", "leads nowhere"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(reference: object, why: str) -> None:
    with pytest.raises(ConstraintRejected, match=why):
        References(_ROOT).targets({"$ref": reference})
