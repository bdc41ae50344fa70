"""Table of JSON Schema's keywords: kept, dropped or describing, on every engine (see docs/format.md)."""

from __future__ import annotations

# The answer obeys them.
KEPT = {
    "$defs", "$ref", "additionalItems", "additionalProperties", "allOf", "anyOf", "const", "definitions",
    "enum",
    "exclusiveMaximum", "exclusiveMinimum", "items", "maxItems", "maxLength", "maximum", "minItems",
    "minLength", "minimum", "nullable", "oneOf", "prefixItems", "properties", "propertyNames", "required",
    "type", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
# The answer obeys them where a grammar can express them; otherwise they are reported as dropped.
KEPT_WHERE_POSSIBLE = {
    "format", "maxProperties", "minProperties", "multipleOf", "pattern", "patternProperties",
}  # fmt: skip
# The answer need not obey them: a grammar would have to count, compare or look ahead.
DROPPED = {
    "contains", "dependencies", "dependentRequired", "dependentSchemas", "else", "if", "maxContains",
    "minContains", "not", "then", "uniqueItems",
}  # fmt: skip
# They exclude no answer.
DESCRIBE = {
    "$anchor", "$comment", "$dynamicAnchor", "$id", "$schema", "$vocabulary", "contentEncoding",
    "contentMediaType", "contentSchema", "default", "deprecated", "description", "discriminator", "example",
    "examples", "externalDocs", "id", "markdownDescription", "propertyOrdering", "readOnly", "strict",
    "title",
    "writeOnly", "xml",
}  # fmt: skip
_EXTENSION = "x-"

OBJECT_KEYWORDS = {
    "additionalProperties", "dependencies", "dependentRequired", "dependentSchemas", "maxProperties",
    "minProperties", "patternProperties", "properties", "propertyNames", "required", "unevaluatedProperties",
}  # fmt: skip
ARRAY_KEYWORDS = {
    "additionalItems", "contains", "items", "maxContains", "maxItems", "minContains", "minItems",
    "prefixItems", "unevaluatedItems", "uniqueItems",
}  # fmt: skip
STRING_KEYWORDS = {"format", "maxLength", "minLength", "pattern"}
NUMBER_KEYWORDS = {"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"}


def is_reported(keyword: str) -> bool:
    """Whether the keyword is reported as dropped. That includes unknown keywords, which may be misspelled."""
    if keyword in KEPT or keyword in KEPT_WHERE_POSSIBLE or keyword in DESCRIBE:
        return False
    return not keyword.startswith(_EXTENSION)


def constrains(keyword: str) -> bool:
    """Whether the keyword can exclude an answer."""
    return keyword not in DESCRIBE and not keyword.startswith(_EXTENSION)
