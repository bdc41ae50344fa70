"""What becomes of each keyword of JSON Schema, on every engine. docs/format.md shows it."""

from __future__ import annotations

# The answer obeys them.
KEPT = {
    "$defs", "$ref", "additionalItems", "additionalProperties", "allOf", "anyOf", "const", "definitions",
    "enum",
    "exclusiveMaximum", "exclusiveMinimum", "items", "maxItems", "maxLength", "maximum", "minItems",
    "minLength", "minimum", "nullable", "oneOf", "prefixItems", "properties", "propertyNames", "required",
    "type", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
# The answer obeys them where a grammar can say so; simplify.py names them where it cannot.
KEPT_WHERE_POSSIBLE = {
    "format", "maxProperties", "minProperties", "multipleOf", "pattern", "patternProperties",
}  # fmt: skip
# The answer need not obey them: a grammar would have to count, compare or look ahead.
DROPPED = {
    "contains", "dependencies", "dependentRequired", "dependentSchemas", "else", "if", "maxContains",
    "minContains", "not", "then", "uniqueItems",
}  # fmt: skip
# They leave no answer out.
DESCRIBE = {
    "$anchor", "$comment", "$dynamicAnchor", "$id", "$schema", "$vocabulary", "contentEncoding",
    "contentMediaType", "contentSchema", "default", "deprecated", "description", "discriminator", "example",
    "examples", "externalDocs", "id", "markdownDescription", "propertyOrdering", "readOnly", "strict",
    "title",
    "writeOnly", "xml",
}  # fmt: skip
_EXTENSION = "x-"

OF_OBJECTS = {
    "additionalProperties", "dependencies", "dependentRequired", "dependentSchemas", "maxProperties",
    "minProperties", "patternProperties", "properties", "propertyNames", "required", "unevaluatedProperties",
}  # fmt: skip
OF_ARRAYS = {
    "additionalItems", "contains", "items", "maxContains", "maxItems", "minContains", "minItems",
    "prefixItems", "unevaluatedItems", "uniqueItems",
}  # fmt: skip
OF_STRINGS = {"format", "maxLength", "minLength", "pattern"}
OF_NUMBERS = {"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"}


def is_named(keyword: str) -> bool:
    """Whether a schema that has it does not get all that it says. Keywords that JSON Schema does not have
    are named too: one of them may be a mistake in writing.
    """
    if keyword in KEPT or keyword in KEPT_WHERE_POSSIBLE or keyword in DESCRIBE:
        return False
    return not keyword.startswith(_EXTENSION)


def constrains(keyword: str) -> bool:
    return keyword not in DESCRIBE and not keyword.startswith(_EXTENSION)
