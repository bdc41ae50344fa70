"""Fields that a template mentions, and the part before its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from drover.go_template import nodes
from drover.go_template.errors import TemplateError
from drover.go_template.nodes import Expression, Statement, Statements

_RESPONSE = "Response"


def mentioned(statements: Statements) -> Iterator[str]:
    """Field names in the order of the source, those of variables included. Raises TemplateError."""
    for statement in statements:
        match statement:
            case nodes.Action():
                yield from _of_expression(statement.pipeline)
            case nodes.If() | nodes.With() | nodes.Range():
                yield from _of_expression(statement.pipeline)
                yield from mentioned(statement.body)
                yield from mentioned(statement.otherwise)
            case nodes.Call(pipeline=None):
                # Ollama's error message for this.
                raise TemplateError("undefined template specified")
            case nodes.Call(pipeline=nodes.Pipeline() as pipeline):
                yield from _of_expression(pipeline)


def _of_expression(expression: Expression) -> Iterator[str]:
    match expression:
        case nodes.Field():
            yield from expression.names
        case nodes.Variable():
            yield from expression.fields
        case nodes.Chain():
            yield from _of_expression(expression.inner)
            yield from expression.fields
        case nodes.Pipeline():
            for command in expression.commands:
                for argument in command.arguments:
                    yield from _of_expression(argument)


def response_at_end(position: int) -> Statement:
    """The action `{{ .Response }}`."""
    field = nodes.Field(position, (_RESPONSE,))
    command = nodes.Command(position, (field,))
    return nodes.Action(position, nodes.Pipeline(position, (), False, (command,)))


def up_to_response(statements: Statements) -> Statements:
    """The template up to the first printed `.Response`, where the model's answer begins.

    The else branch of a condition does not follow its other branch.
    """
    return _up_to_response(statements)[0]


def _up_to_response(statements: Statements) -> tuple[Statements, bool]:
    kept: list[Statement] = []
    for statement in statements:
        is_cut = False
        match statement:
            case nodes.Action():
                is_cut = _prints_response(statement.pipeline)
            case nodes.If() | nodes.With() | nodes.Range():
                body, cut_in_body = _up_to_response(statement.body)
                otherwise, cut_otherwise = _up_to_response(statement.otherwise)
                statement = replace(statement, body=body, otherwise=otherwise)
                is_cut = cut_in_body or cut_otherwise
        kept.append(statement)
        if is_cut:
            return tuple(kept), True
    return tuple(kept), False


def _prints_response(expression: Expression) -> bool:
    match expression:
        case nodes.Field():
            return _RESPONSE in expression.names
        case nodes.Pipeline():
            return any(
                _prints_response(argument)
                for command in expression.commands
                for argument in command.arguments
            )
        case _:
            return False
