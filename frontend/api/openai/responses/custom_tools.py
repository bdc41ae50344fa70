"""Custom tools, which take text, as functions with one argument for the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drover.json_value import Json
from frontend.api.core.go_json import dump_text
from frontend.api.core.request import Tool
from frontend.api.openai.responses.custom_input import INPUT

_SYNTAXES = {"lark": "Lark grammar", "regex": "regular expression"}
_AS_TEXT = f"`{INPUT}` is plain text, not JSON: the tool gets it exactly as it is written."


@dataclass(frozen=True, slots=True)
class InputGrammar:
    """What the input of a custom tool must match. `syntax`: lark or regex."""

    syntax: str
    definition: str


def grammar_of(wanted: Json) -> InputGrammar | None:
    """The grammar of a custom tool's `format`; None for any text and for formats of unknown kinds."""
    match wanted:
        case {"type": "grammar", "grammar": {"syntax": str(syntax), "definition": str(definition)}}:
            pass
        case {"type": "grammar", "syntax": str(syntax), "definition": str(definition)}:
            pass
        case _:
            return None
    return InputGrammar(syntax, definition) if syntax in _SYNTAXES else None


def function_of(name: str, description: str, grammar: InputGrammar | None) -> Tool:
    """The function that the model sees in place of a custom tool. Its description has the grammar."""
    parts = [description, _AS_TEXT]
    if grammar is not None:
        parts.append(f"It must match this {_SYNTAXES[grammar.syntax]}:\n{grammar.definition}")
    tool = Tool(name, "\n\n".join(filter(None, parts)), dump_text(_parameters()))
    if grammar is not None:
        tool.input_grammar, tool.input_syntax = grammar.definition, grammar.syntax
    return tool


def _parameters() -> Mapping[str, Json]:
    return {
        "type": "object",
        "properties": {INPUT: {"type": "string"}},
        "required": [INPUT],
        "additionalProperties": False,
    }
