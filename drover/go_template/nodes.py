"""Nodes of the syntax tree. `str` of an expression is its form in Go's error messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from drover.go_template.literals import quoted


@dataclass(frozen=True, slots=True)
class Node:
    """Base of all nodes. `position`: offset in the source, in characters."""

    position: int


@dataclass(frozen=True, slots=True)
class Dot(Node):
    def __str__(self) -> str:
        return "."


@dataclass(frozen=True, slots=True)
class Nil(Node):
    def __str__(self) -> str:
        return "nil"


@dataclass(frozen=True, slots=True)
class Bool(Node):
    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True)
class Number(Node):
    value: int | float
    source: str

    def __str__(self) -> str:
        return self.source


@dataclass(frozen=True, slots=True)
class String(Node):
    value: str
    source: str

    def __str__(self) -> str:
        return self.source


@dataclass(frozen=True, slots=True)
class Field(Node):
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """A variable. `name` includes the dollar sign."""

    name: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((self.name, *self.fields))


@dataclass(frozen=True, slots=True)
class Chain(Node):
    inner: Expression
    fields: tuple[str, ...]

    def __str__(self) -> str:
        inner = f"({self.inner})" if isinstance(self.inner, Pipeline) else str(self.inner)
        return ".".join((inner, *self.fields))


@dataclass(frozen=True, slots=True)
class Function(Node):
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Command(Node):
    arguments: tuple[Expression, ...]

    def __str__(self) -> str:
        return " ".join(f"({each})" if isinstance(each, Pipeline) else str(each) for each in self.arguments)


@dataclass(frozen=True, slots=True)
class Pipeline(Node):
    """A pipeline. `variables` are declared with its value, or set to it if `assigns`."""

    variables: tuple[str, ...]
    assigns: bool
    commands: tuple[Command, ...]

    def __str__(self) -> str:
        declaration = ", ".join(self.variables) + (" = " if self.assigns else " := ")
        return (declaration if self.variables else "") + " | ".join(map(str, self.commands))


Expression: TypeAlias = Dot | Nil | Bool | Number | String | Field | Variable | Chain | Function | Pipeline


@dataclass(frozen=True, slots=True)
class Text(Node):
    text: str


@dataclass(frozen=True, slots=True)
class Action(Node):
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch(Node):
    pipeline: Pipeline
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class If(Branch):
    pass


@dataclass(frozen=True, slots=True)
class With(Branch):
    pass


@dataclass(frozen=True, slots=True)
class Range(Branch):
    pass


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`{{ template "name" pipeline }}`."""

    name: str
    pipeline: Pipeline | None

    def __str__(self) -> str:
        return f"{{{{template {quoted(self.name)}{f' {self.pipeline}' if self.pipeline else ''}}}}}"


@dataclass(frozen=True, slots=True)
class Break(Node):
    pass


@dataclass(frozen=True, slots=True)
class Continue(Node):
    pass


Statement: TypeAlias = Text | Action | If | With | Range | Call | Break | Continue
Statements: TypeAlias = tuple[Statement, ...]
