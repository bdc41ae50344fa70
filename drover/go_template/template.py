"""A parsed template, which renders the prompt of a conversation or of an insertion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drover.go_template.conversation import Turns, chat_data, gap_data, turns_of
from drover.go_template.errors import Budget
from drover.go_template.execution import Execution
from drover.go_template.nodes import Statements
from drover.go_template.parser import Definitions, parse_source
from drover.go_template.values import Value
from drover.go_template.variables import mentioned, response_at_end, up_to_response
from drover.v1 import engine_pb2 as pb


@dataclass(frozen=True, slots=True)
class Template:
    """`variables`: names of fields that the template mentions, in lower case."""

    source: str
    variables: frozenset[str]
    _definitions: Definitions = field(repr=False)

    def uses(self, name: str) -> bool:
        """Whether the template mentions a field, such as "tools" or "suffix", in any letter case."""
        return name.lower() in self.variables

    def render_chat(
        self,
        messages: Sequence[pb.Message],
        tools: Sequence[pb.Tool] = (),
        think: pb.Think | None = None,
    ) -> str:
        """The prompt of a conversation, as Ollama renders it. Raises TemplateError."""
        think = think or pb.Think()
        if self.uses("messages"):
            return self._execute(self._definitions[""], chat_data(messages, tools, think), Budget())
        return self._turn_by_turn(turns_of(messages, think))

    def render_gap(self, before: str, after: str, think: pb.Think | None = None) -> str:
        """The prompt for the text between a prefix and a suffix. Raises TemplateError."""
        return self._execute(self._definitions[""], gap_data(before, after, think or pb.Think()), Budget())

    def _turn_by_turn(self, turns: Turns) -> str:
        """Run a template without `.Messages` for each exchange, for the last one up to its answer. As in
        Ollama that part is a template of its own, without Ollama's functions and the source's definitions.
        """
        budget = Budget()
        whole = self._definitions[""]
        earlier = [self._execute(whole, turn, budget) for turn in turns.earlier]
        last = Execution({}, self.source, budget, bare=True).run(up_to_response(whole), turns.last)
        return "".join((*earlier, last))

    def _execute(self, statements: Statements, data: dict[str, Value], budget: Budget) -> str:
        return Execution(self._definitions, self.source, budget).run(statements, data)


def parse(source: str) -> Template:
    """Parse a source. Raises TemplateError if Go would not parse it, or if it is too long or nested too
    deeply.
    """
    definitions = parse_source(source)
    variables = frozenset(name.lower() for each in definitions.values() for name in mentioned(each))
    if not variables & {"messages", "response"}:
        definitions[""] = (*definitions[""], response_at_end(len(source)))
    return Template(source, variables, definitions)
