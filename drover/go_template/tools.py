"""Tools as templates see them: Go structs that print as JSON."""

from __future__ import annotations

from drover.go_template.errors import TemplateError
from drover.go_template.json_text import Json, Ordered, read_object
from drover.go_template.typescript import PROPERTY
from drover.go_template.values import JsonMap, Record, TypeNames, Value
from drover.v1 import engine_pb2 as pb

_PARAMETERS = ("type", "$defs", "items", "required", "properties")
_PROPERTY = ("anyOf", "type", "items", "description", "enum", "properties", "required")
_DEEPEST = 100
_TOO_DEEP = "the parameters of a tool are nested too deeply"


def tool_value(tool: pb.Tool) -> Record:
    """Raises TemplateError for parameters that are not a JSON object, or nested too deeply."""
    parameters = _parameters(read_object(tool.parameters_json, f"the parameters of tool {tool.name!r}"))
    function_json = Ordered(name=tool.name, description=tool.description, parameters=parameters.json)
    function = Record(
        "template.templateToolFunction",
        {"Name": tool.name, "Description": tool.description, "Parameters": parameters},
        function_json,
        prints_json=True,
    )
    fields: dict[str, Value] = {"Type": "function", "Items": None, "Function": function}
    json = Ordered(type="function", function=function_json)
    return Record("template.templateTool", fields, json, prints_json=True)


def _parameters(schema: dict[str, Json]) -> Record:
    properties, types = _properties(schema.get("properties"), 0), schema.get("type")
    json = _in_order(schema, _PARAMETERS, {"type": types or "object", "properties": _json_of(properties)})
    fields: dict[str, Value] = {
        "Type": _text(types),
        "Defs": _value(schema.get("$defs")),
        "Items": _value(schema.get("items")),
        "Required": _list(schema.get("required")),
        "Properties": properties,
    }
    return Record("template.templateToolFunctionParameters", fields, json, prints_json=True)


def _properties(schemas: Json, depth: int) -> JsonMap:
    if depth > _DEEPEST:
        raise TemplateError(_TOO_DEEP)
    if not isinstance(schemas, dict):
        return JsonMap()
    return JsonMap({name: _property(schema, depth + 1) for name, schema in schemas.items()})


def _property(schema: Json, depth: int) -> Value:
    """The type of a property; a schema that is not an object, such as `true`, has none."""
    known = schema if isinstance(schema, dict) else {}
    choices: list[Value] = [_property(each, depth + 1) for each in _json_list(known.get("anyOf"))]
    properties = _properties(known.get("properties"), depth)
    types = known.get("type")
    fields: dict[str, Value] = {
        "AnyOf": choices,
        "Type": TypeNames(_list(types if isinstance(types, list) else [types] if types else [])),
        "Items": _value(known.get("items")),
        "Description": _text(known.get("description")),
        "Enum": _list(known.get("enum")),
        "Properties": properties,
        "Required": _list(known.get("required")),
    }
    replaced: dict[str, Json] = {}
    if choices:
        replaced["anyOf"] = [each.json for each in choices if isinstance(each, Record)]
    if isinstance(types, list) and len(types) == 1:
        replaced["type"] = types[0]
    if properties:
        replaced["properties"] = _json_of(properties)
    return Record(PROPERTY, fields, _in_order(known, _PROPERTY, replaced), prints_json=True)


def _in_order(schema: dict[str, Json], names: tuple[str, ...], replaced: dict[str, Json]) -> Ordered:
    """Fields that Ollama knows, in its order and without empty ones, then all others, which Ollama drops."""
    known = {
        name: value for name in names if (value := replaced.get(name, schema.get(name))) not in (None, "", [])
    }
    return Ordered({**known, **{name: value for name, value in schema.items() if name not in names}})


def _json_of(properties: JsonMap) -> Json:
    return {name: each.json for name, each in properties.items() if isinstance(each, Record)}


def _value(json: Json, depth: int = 0) -> Value:
    """The same with the value types of templates."""
    if depth > _DEEPEST:
        raise TemplateError(_TOO_DEEP)
    match json:
        case list():
            return [_value(each, depth + 1) for each in json]
        case dict():
            return {name: _value(each, depth + 1) for name, each in json.items()}
        case _:
            return json


def _json_list(json: Json) -> list[Json]:
    return json if isinstance(json, list) else []


def _list(json: Json) -> list[Value]:
    return [_value(each) for each in _json_list(json)]


def _text(json: Json) -> str:
    return json if isinstance(json, str) else ""
