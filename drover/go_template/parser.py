"""Parses tokens into the syntax tree, with Go's grammar and Go's error messages."""

from __future__ import annotations

from drover.go_template import nodes
from drover.go_template.errors import MAX_NESTING, MAX_SOURCE, MAX_VARIABLES, TemplateError
from drover.go_template.functions import NAMES
from drover.go_template.literals import character, number, quoted, unquoted
from drover.go_template.nodes import Command, Expression, Pipeline, Statement, Statements
from drover.go_template.tokens import Kind, Token, tokens_of

_ROOT = "$"
_LITERAL_STARTS = (nodes.Bool, nodes.Dot, nodes.Nil, nodes.Number, nodes.String)
_OPERAND_STARTS = frozenset(
    (
        Kind.BOOL,
        Kind.CHARACTER,
        Kind.DOT,
        Kind.FIELD,
        Kind.IDENTIFIER,
        Kind.NUMBER,
        Kind.NIL,
        Kind.RAW_STRING,
        Kind.STRING,
        Kind.VARIABLE,
        Kind.LEFT_PAREN,
    )
)
Definitions = dict[str, Statements]


def parse_source(source: str) -> Definitions:
    """The defined templates by name; the whole source is "". Raises TemplateError."""
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"template: it has {len(source)} characters, and at most {MAX_SOURCE} are read")
    return _Parser(source).run()


class _Parser:
    def __init__(self, source: str) -> None:
        self._tokens = tokens_of(source)
        self._at = 0
        # Go reports the line of the last token that it has peeked at.
        self._furthest = 0
        self._definitions: Definitions = {}
        self._variables = [_ROOT]
        self._action_line = 0
        self._ranges = 0
        self._depth = 0

    def run(self) -> Definitions:
        statements: list[Statement] = []
        while self._peek().kind is not Kind.EOF:
            if self._peek().kind is Kind.LEFT and self._define():
                continue
            statement, end = self._statement_or_end()
            if end:
                raise self._failure(f"unexpected {{{{{end}}}}}")
            if statement:
                statements.append(statement)
        self._add("", tuple(statements))
        return self._definitions

    # ------------------------------------------------------------------ statements

    def _define(self) -> bool:
        start = self._at
        self._next()
        if not self._next_solid().is_keyword("define"):
            self._at = start
            return False
        outer, self._variables = self._variables, [_ROOT]
        name = self._name("define clause")
        self._expect_right("define clause")
        statements, end = self._statements()
        if end != "end":
            raise self._failure(f"unexpected {{{{{end}}}}} in define clause")
        self._add(name, statements)
        self._variables = outer
        return True

    def _add(self, name: str, statements: Statements) -> None:
        """A definition without content does not replace one with content."""
        known = self._definitions.get(name)
        if known is None or _is_empty(known):
            self._definitions[name] = statements
        elif not _is_empty(statements):
            raise self._failure(f"template: multiple definition of template {quoted(name)}")

    def _statements(self) -> tuple[Statements, str]:
        """The nodes up to `{{end}}` or `{{else}}`, and which of the two ended them."""
        self._deepen()
        statements: list[Statement] = []
        while self._peek_solid().kind is not Kind.EOF:
            statement, end = self._statement_or_end()
            if end:
                self._depth -= 1
                return tuple(statements), end
            if statement:
                statements.append(statement)
        raise self._failure("unexpected EOF")

    def _statement_or_end(self) -> tuple[Statement | None, str]:
        token = self._next_solid()
        match token.kind:
            case Kind.TEXT:
                return nodes.Text(token.position, token.text), ""
            case Kind.LEFT:
                self._action_line = token.line
                result = self._action()
                self._action_line = 0
                return result
            case _:
                raise self._unexpected(token, "input")

    def _action(self) -> tuple[Statement | None, str]:
        token = self._next_solid()
        if token.kind is not Kind.KEYWORD:
            self._at -= 1
            position = self._peek().position
            return nodes.Action(position, self._pipeline("command", Kind.RIGHT)), ""
        match token.text:
            case "if" | "with" | "range":
                return self._branch(token), ""
            case "end":
                self._expect_right("end")
                return None, "end"
            case "else":
                if not self._peek_solid().is_keyword("if") and not self._peek_solid().is_keyword("with"):
                    self._expect_right("else")
                return None, "else"
            case "template":
                return self._call(), ""
            case "block":
                return self._block(token), ""
            case "break" | "continue":
                return self._leave(token), ""
            case _:
                raise self._unexpected(token, "command")

    def _branch(self, opening: Token) -> Statement:
        visible = len(self._variables)
        pipeline = self._pipeline(opening.text, Kind.RIGHT)
        self._ranges += opening.text == "range"
        body, end = self._statements()
        self._ranges -= opening.text == "range"
        otherwise = self._otherwise(opening.text) if end == "else" else ()
        del self._variables[visible:]
        match opening.text:
            case "if":
                return nodes.If(opening.position, pipeline, body, otherwise)
            case "with":
                return nodes.With(opening.position, pipeline, body, otherwise)
            case _:
                return nodes.Range(opening.position, pipeline, body, otherwise)

    def _otherwise(self, opening: str) -> Statements:
        """`{{else if …}}` and `{{else with …}}` share the `{{end}}` of their block."""
        follower = self._peek_solid()
        if follower.kind is Kind.KEYWORD and follower.text in ("if", "with"):
            if follower.text != opening:
                raise self._failure(f"unexpected <{follower.text}> in input")
            self._next_solid()
            self._deepen()
            branch = self._branch(follower)
            self._depth -= 1
            return (branch,)
        statements, end = self._statements()
        if end != "end":
            raise self._failure("expected end; found {{else}}")
        return statements

    def _call(self) -> Statement:
        position = self._peek_solid().position
        name = self._name("template clause")
        pipeline = None
        if self._next_solid().kind is not Kind.RIGHT:
            self._at -= 1
            pipeline = self._pipeline("template clause", Kind.RIGHT)
        return nodes.Call(position, name, pipeline)

    def _block(self, opening: Token) -> Statement:
        name = self._name("block clause")
        pipeline = self._pipeline("block clause", Kind.RIGHT)
        outer, self._variables = self._variables, [_ROOT]
        ranges, self._ranges = self._ranges, 0
        statements, end = self._statements()
        if end != "end":
            raise self._failure(f"unexpected {{{{{end}}}}} in block clause")
        self._add(name, statements)
        self._variables, self._ranges = outer, ranges
        return nodes.Call(opening.position, name, pipeline)

    def _leave(self, opening: Token) -> Statement:
        word = f"{{{{{opening.text}}}}}"
        if (token := self._next_solid()).kind is not Kind.RIGHT:
            raise self._unexpected(token, word)
        if not self._ranges:
            raise self._failure(f"{word} outside {{{{range}}}}")
        return (nodes.Break if opening.text == "break" else nodes.Continue)(opening.position)

    def _name(self, context: str) -> str:
        token = self._next_solid()
        if token.kind not in (Kind.STRING, Kind.RAW_STRING):
            raise self._unexpected(token, context)
        return self._unquoted(token)

    # ------------------------------------------------------------------ expressions

    def _pipeline(self, context: str, end: Kind) -> Pipeline:
        position = self._peek_solid().position
        variables, assigns = self._declared(context)
        commands: list[Command] = []
        while (token := self._next_solid()).kind is not end:
            if token.kind not in _OPERAND_STARTS:
                raise self._unexpected(token, context)
            self._at -= 1
            commands.append(self._command())
        if not commands:
            raise self._failure(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.arguments[0], _LITERAL_STARTS):
                raise self._failure(f"non executable command in pipeline stage {stage}")
        return Pipeline(position, variables, assigns, tuple(commands))

    def _declared(self, context: str) -> tuple[tuple[str, ...], bool]:
        variables: list[str] = []
        while self._peek_solid().kind is Kind.VARIABLE:
            variable = self._next_solid()
            behind = self._at
            follower = self._peek_solid()
            if follower.kind in (Kind.ASSIGN, Kind.DECLARE):
                self._next_solid()
                variables.append(variable.text)
                self._declare(variable.text)
                return tuple(variables), follower.kind is Kind.ASSIGN
            if follower.kind is not Kind.OTHER or follower.text != ",":
                self._at = behind - 1
                break
            self._next_solid()
            variables.append(variable.text)
            self._declare(variable.text)
            if context != "range" or len(variables) >= 2:
                raise self._failure(f"too many declarations in {context}")
            if self._peek_solid().kind not in (Kind.VARIABLE, Kind.RIGHT, Kind.RIGHT_PAREN):
                raise self._failure("range can only initialize variables")
        return tuple(variables), False

    def _declare(self, name: str) -> None:
        if len(self._variables) > MAX_VARIABLES:
            raise self._failure(f"more than {MAX_VARIABLES} variables at one place")
        self._variables.append(name)

    def _command(self) -> Command:
        position = self._peek_solid().position
        arguments: list[Expression] = []
        while True:
            self._peek_solid()
            if operand := self._operand():
                arguments.append(operand)
            token = self._next()
            if token.kind is Kind.SPACE:
                continue
            if token.kind in (Kind.RIGHT, Kind.RIGHT_PAREN):
                self._at -= 1
            elif token.kind is not Kind.PIPE:
                raise self._unexpected(token, "operand")
            break
        if not arguments:
            raise self._failure("empty command")
        return Command(position, tuple(arguments))

    def _operand(self) -> Expression | None:
        operand = self._term()
        if operand is None or self._peek().kind is not Kind.FIELD:
            return operand
        position = self._peek().position
        fields: list[str] = []
        while self._peek().kind is Kind.FIELD:
            fields.append(self._next().text[1:])
        match operand:
            case nodes.Field():
                return nodes.Field(position, (*operand.names, *fields))
            case nodes.Variable():
                return nodes.Variable(position, operand.name, (*operand.fields, *fields))
            case nodes.Pipeline() | nodes.Function():
                return nodes.Chain(position, operand, tuple(fields))
            case _:
                raise self._failure(f"unexpected . after term {quoted(str(operand))}")

    def _term(self) -> Expression | None:
        token = self._next_solid()
        match token.kind:
            case Kind.IDENTIFIER:
                if token.text not in NAMES:
                    raise self._failure(f"function {quoted(token.text)} not defined")
                return nodes.Function(token.position, token.text)
            case Kind.DOT:
                return nodes.Dot(token.position)
            case Kind.NIL:
                return nodes.Nil(token.position)
            case Kind.VARIABLE:
                if token.text not in self._variables:
                    raise self._failure(f"undefined variable {quoted(token.text)}")
                return nodes.Variable(token.position, token.text)
            case Kind.FIELD:
                return nodes.Field(token.position, (token.text[1:],))
            case Kind.BOOL:
                return nodes.Bool(token.position, token.text == "true")
            case Kind.CHARACTER | Kind.NUMBER:
                return self._number(token)
            case Kind.STRING | Kind.RAW_STRING:
                return nodes.String(token.position, self._unquoted(token), token.text)
            case Kind.LEFT_PAREN:
                return self._parenthesised()
            case _:
                self._at -= 1
                return None

    def _parenthesised(self) -> Pipeline:
        self._deepen()
        pipeline = self._pipeline("parenthesized pipeline", Kind.RIGHT_PAREN)
        self._depth -= 1
        return pipeline

    def _number(self, token: Token) -> Expression:
        try:
            value = character(token.text) if token.kind is Kind.CHARACTER else number(token.text)
        except ValueError as error:
            raise self._failure(str(error)) from error
        return nodes.Number(token.position, value, token.text)

    def _unquoted(self, token: Token) -> str:
        try:
            return unquoted(token.text)
        except ValueError as error:
            raise self._failure(str(error)) from error

    def _deepen(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._failure(f"more than {MAX_NESTING} blocks and parentheses within each other")

    # ------------------------------------------------------------------ tokens

    def _peek(self) -> Token:
        at = min(self._at, len(self._tokens) - 1)
        self._furthest = max(self._furthest, at)
        return self._tokens[at]

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _peek_solid(self) -> Token:
        """Skip spaces."""
        while self._peek().kind is Kind.SPACE:
            self._at += 1
        return self._peek()

    def _next_solid(self) -> Token:
        self._peek_solid()
        return self._next()

    def _expect_right(self, context: str) -> None:
        if (token := self._next_solid()).kind is not Kind.RIGHT:
            raise self._unexpected(token, context)

    def _unexpected(self, token: Token, context: str) -> TemplateError:
        if token.kind is not Kind.ERROR:
            return self._failure(f"unexpected {token} in {context}")
        started = ""
        if self._action_line not in (0, token.line):
            started = f" in action started at :{self._action_line}"
            if token.text.endswith(" action"):
                started = started.removeprefix(" in action")
        return self._failure(f"{token}{started}")

    def _failure(self, message: str) -> TemplateError:
        return TemplateError(f"template: :{self._tokens[self._furthest].line}: {message}")


def _is_empty(statements: Statements) -> bool:
    return all(isinstance(each, nodes.Text) and not each.text.strip() for each in statements)
