"""Errors of templates, and the bounds of their source and rendering."""

from __future__ import annotations

# Characters of a source. Ollama's longest library templates have about 20,000.
MAX_SOURCE = 65_536
# Nested blocks and parentheses, across `template` calls too.
MAX_NESTING = 50
# Variables in scope.
MAX_VARIABLES = 200
# Nodes that one rendering visits; 5,000 messages with a rich template visit some 200,000.
MAX_STEPS = 1_000_000
# Characters that one rendering writes or handles in functions.
MAX_CHARACTERS = 32_000_000


class TemplateError(Exception):
    """`message`: in Go's form `template: :1: unclosed action`, where 1 is the line and the name is empty."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class FunctionFailed(Exception):
    """The reason of a function's failure; the caller adds the position in the template."""


class Budget:
    """The remaining budget of one rendering. Raises TemplateError when it is used up."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._characters = MAX_CHARACTERS

    def step(self, count: int = 1) -> None:
        self._steps -= count
        if self._steps < 0:
            raise TemplateError(f"template: it takes more than {MAX_STEPS} steps; it may not loop so much")

    def characters(self, count: int) -> None:
        self._characters -= count
        if self._characters < 0:
            raise TemplateError(f"template: it makes more than {MAX_CHARACTERS} characters")
