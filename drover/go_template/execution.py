"""Executes a parsed template over its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import TypeAlias

from drover.go_template import nodes
from drover.go_template.errors import MAX_NESTING, Budget, FunctionFailed, TemplateError
from drover.go_template.functions import FUNCTIONS, LAZY, OLLAMAS
from drover.go_template.literals import quoted
from drover.go_template.nodes import Command, Expression, Pipeline, Statements
from drover.go_template.parser import Definitions
from drover.go_template.values import NO_VALUE, Record, Value, is_true, text_of, type_name

_ROOT = "$"
# Nesting of blocks across `template` calls.
_DEEPEST = 2 * MAX_NESTING


class _Flow(Enum):
    ON = auto()
    BREAK = auto()
    CONTINUE = auto()


class _Missing(Enum):
    """No value comes from an earlier stage of the pipeline (nil would be a value)."""

    FINAL = auto()


_Final: TypeAlias = "Value | _Missing"


class Execution:
    """One rendering. `source`: for positions in errors. `bare`: without Ollama's own functions."""

    def __init__(self, definitions: Definitions, source: str, budget: Budget, bare: bool = False) -> None:
        self._bare = bare
        self._definitions = definitions
        self._source = source
        self._budget = budget
        self._name = ""
        self._variables: list[tuple[str, Value]] = []
        self._written: list[str] = []
        self._depth = 0

    def run(self, statements: Statements, data: dict[str, Value]) -> str:
        """Raises TemplateError."""
        self._variables = [(_ROOT, data)]
        try:
            self._statements(statements, data)
        except RecursionError as error:
            raise TemplateError("template: it is nested too deeply") from error
        return "".join(self._written)

    # ------------------------------------------------------------------ statements

    def _statements(self, statements: Statements, dot: Value) -> _Flow:
        for statement in statements:
            self._budget.step()
            match statement:
                case nodes.Text():
                    self._write(statement.text)
                case nodes.Action():
                    value = self._pipeline(statement.pipeline, dot)
                    if not statement.pipeline.variables:
                        self._print(value, statement.pipeline)
                case nodes.If() | nodes.With() | nodes.Range():
                    flow = self._branch(statement, dot)
                    if flow is not _Flow.ON:
                        return flow
                case nodes.Call():
                    self._call_template(statement, dot)
                case nodes.Break():
                    return _Flow.BREAK
                case nodes.Continue():
                    return _Flow.CONTINUE
        return _Flow.ON

    def _print(self, value: Value, node: Pipeline) -> None:
        if value is None:
            self._write(NO_VALUE)
            return
        try:
            self._write(text_of(value))
        except FunctionFailed as error:
            raise self._failure(node, str(error)) from error

    def _write(self, text: str) -> None:
        self._budget.characters(len(text))
        self._written.append(text)

    def _branch(self, branch: nodes.Branch, dot: Value) -> _Flow:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._failure(branch.pipeline, f"exceeded maximum template depth ({_DEEPEST})")
        visible = len(self._variables)
        if isinstance(branch, nodes.Range):
            flow = self._range(branch, dot)
        else:
            value = self._pipeline(branch.pipeline, dot)
            holds = is_true(value)
            inner = value if holds and isinstance(branch, nodes.With) else dot
            flow = self._statements(branch.body if holds else branch.otherwise, inner)
        del self._variables[visible:]
        self._depth -= 1
        return flow

    def _range(self, branch: nodes.Branch, dot: Value) -> _Flow:
        names, assigns = branch.pipeline.variables, branch.pipeline.assigns
        value = self._pipeline(branch.pipeline, dot, bind=False)
        if not assigns:
            # They are in scope in the else branch too, where nothing has been assigned.
            self._variables.extend((name, value) for name in names)
        visible = len(self._variables)
        is_empty = True
        for key, element in self._items(value, branch.pipeline):
            is_empty = False
            self._budget.step()
            for name, bound in zip(names, (element,) if len(names) == 1 else (key, element), strict=False):
                self._set(name, bound, branch.pipeline)
            flow = self._statements(branch.body, element)
            del self._variables[visible:]
            if flow is _Flow.BREAK:
                break
        return self._statements(branch.otherwise, dot) if is_empty else _Flow.ON

    def _items(self, value: Value, node: Pipeline) -> Iterator[tuple[Value, Value]]:
        match value:
            case None:
                return
            case bool():
                raise self._failure(node, f"range can't iterate over {text_of(value)}")
            case int():
                for number in range(value):
                    yield number, number
            case list():
                yield from enumerate(value)
            case dict():
                self._budget.step(len(value))
                for key in sorted(value):
                    yield key, value[key]
            case _:
                raise self._failure(node, f"range can't iterate over {text_of(value)}")

    def _call_template(self, call: nodes.Call, dot: Value) -> None:
        statements = self._definitions.get(call.name)
        if statements is None:
            raise self._failure(
                call.pipeline or nodes.Dot(call.position), f"template {quoted(call.name)} not defined"
            )
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._failure(call, f"exceeded maximum template depth ({_DEEPEST})")
        inner = self._pipeline(call.pipeline, dot) if call.pipeline else None
        outer, self._variables = self._variables, [(_ROOT, inner)]
        outer_name, self._name = self._name, call.name
        self._statements(statements, inner)
        self._variables, self._name = outer, outer_name
        self._depth -= 1

    # ------------------------------------------------------------------ variables

    def _set(self, name: str, value: Value, node: Pipeline) -> None:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return
        raise self._failure(node, f"undefined variable: {name}")

    def _variable(self, node: nodes.Variable) -> Value:
        for name, value in reversed(self._variables):
            if name == node.name:
                return value
        raise self._failure(node, f"undefined variable: {node.name}")

    # ------------------------------------------------------------------ expressions

    def _pipeline(self, pipeline: Pipeline, dot: Value, bind: bool = True) -> Value:
        value: _Final = _Missing.FINAL
        for command in pipeline.commands:
            self._budget.step()
            value = self._command(command, dot, value)
        assert not isinstance(value, _Missing)
        if bind:
            for name in pipeline.variables:
                if pipeline.assigns:
                    self._set(name, value, pipeline)
                else:
                    self._variables.append((name, value))
        return value

    def _command(self, command: Command, dot: Value, final: _Final) -> Value:
        first, others = command.arguments[0], command.arguments[1:]
        match first:
            case nodes.Function():
                return self._function(first, command, others, dot, final)
            case nodes.Field():
                return self._fields(dot, first.names, first, others, final)
            case nodes.Chain():
                inner = self._argument(first.inner, dot)
                return self._fields(inner, first.fields, first, others, final)
            case nodes.Variable() if first.fields:
                return self._fields(self._variable(first), first.fields, first, others, final)
        if others or not isinstance(final, _Missing):
            raise self._failure(first, f"can't give argument to non-function {first}")
        if isinstance(first, nodes.Nil):
            raise self._failure(first, "nil is not a command")
        return self._argument(first, dot)

    def _argument(self, node: Expression, dot: Value) -> Value:
        self._budget.step()
        match node:
            case nodes.Dot():
                return dot
            case nodes.Nil():
                return None
            case nodes.Bool() | nodes.Number() | nodes.String():
                return node.value
            case nodes.Field():
                return self._fields(dot, node.names, node, (), _Missing.FINAL)
            case nodes.Variable():
                return self._fields(self._variable(node), node.fields, node, (), _Missing.FINAL)
            case nodes.Chain():
                inner = self._argument(node.inner, dot)
                return self._fields(inner, node.fields, node, (), _Missing.FINAL)
            case nodes.Function():
                return self._function(node, node, (), dot, _Missing.FINAL)
            case nodes.Pipeline():
                return self._pipeline(node, dot)

    def _fields(
        self,
        value: Value,
        names: Sequence[str],
        node: Expression,
        others: Sequence[Expression],
        final: _Final,
    ) -> Value:
        has_arguments = bool(others) or not isinstance(final, _Missing)
        holder: Value = None
        for at, name in enumerate(names):
            invoked = has_arguments and at == len(names) - 1
            # In Go the value of a map entry has no concrete type before it is evaluated.
            kind = "interface {}" if isinstance(holder, dict) else type_name(value)
            holder, value = value, self._field(value, name, node, kind, is_first=at == 0, invoked=invoked)
        return value

    def _field(
        self, value: Value, name: str, node: Expression, kind: str, is_first: bool, invoked: bool
    ) -> Value:
        match value:
            case None if is_first:
                return None
            case None:
                raise self._failure(node, f"nil pointer evaluating interface {{}}.{name}")
            case dict():
                if invoked:
                    raise self._failure(node, f"{name} is not a method but has arguments")
                return value.get(name)
            case Record() if name in value.fields:
                if invoked:
                    raise self._failure(node, f"{name} has arguments but cannot be invoked as function")
                return value.fields[name]
            case _:
                raise self._failure(node, f"can't evaluate field {name} in type {kind}")

    def _function(
        self,
        node: nodes.Function,
        error_node: Expression | Command,
        others: Sequence[Expression],
        dot: Value,
        final: _Final,
    ) -> Value:
        count = len(others) + (not isinstance(final, _Missing))
        if node.name in LAZY:
            return self._lazy(node, others, dot, final)
        if self._bare and node.name in OLLAMAS:
            raise self._failure(node, f"{quoted(node.name)} is not a defined function")
        function = FUNCTIONS[node.name]
        if count < function.fewest or (function.most is not None and count > function.most):
            at_least = "at least " if function.most is None else ""
            raise self._failure(
                node, f"wrong number of args for {node.name}: want {at_least}{function.fewest} got {count}"
            )
        arguments = [self._argument(other, dot) for other in others]
        if not isinstance(final, _Missing):
            arguments.append(final)
        try:
            return function.call(arguments, self._budget)
        except FunctionFailed as error:
            raise self._failure(error_node, f"error calling {node.name}: {error}") from error

    def _lazy(self, node: nodes.Function, others: Sequence[Expression], dot: Value, final: _Final) -> Value:
        if not others and isinstance(final, _Missing):
            raise self._failure(node, f"wrong number of args for {node.name}: want at least 1 got 0")
        value: Value = None
        for other in others:
            value = self._argument(other, dot)
            if is_true(value) == (node.name == "or"):
                return value
        return value if isinstance(final, _Missing) else final

    def _failure(self, node: Expression | Command | nodes.Call, message: str) -> TemplateError:
        before = self._source[: node.position]
        line = 1 + before.count("\n")
        column = len(before[before.rfind("\n") + 1 :].encode(errors="replace"))
        return TemplateError(
            f"template: :{line}:{column}: executing {quoted(self._name)} at <{node}>: {message}"
        )
