"""What goes wrong with a template, and the bounds that keep one from being a bomb."""

from __future__ import annotations

# Characters of a source. Ollama's longest library templates have about 20,000.
MAX_SOURCE = 65_536
# Blocks and parentheses within each other, also across `template` calls.
MAX_NESTING = 50
# Variables that are visible at one place.
MAX_VARIABLES = 200
# Nodes that one rendering visits; 5,000 messages of a rich template are some 200,000.
MAX_STEPS = 1_000_000
# Characters that one rendering writes or handles in functions.
MAX_CHARACTERS = 32_000_000


class TemplateError(Exception):
    """`message` is Go's: `template: :1: unclosed action`, with the line after an empty name."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class FunctionFailed(Exception):
    """Why a function failed; the caller adds its position in the template."""


class Budget:
    """Counts down what a rendering may do. Raises TemplateError when it is spent."""

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
