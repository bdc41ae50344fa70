"""Render a request's input with a simple chat template, and tokenise it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile

from drover.errors import CapabilityMissing, InvalidRequest
from drover.go_template.template import Template
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.tokens import Tokenizer, bytes_of_all
from engine_worker.prompt.go_prompt import go_prompt_of
from engine_worker.prompt.window import Fitted, Window, fit_ids, fit_messages

TEMPLATE = """\
{%- if tools %}<|tools|>
{% for tool in tools %}{{ tool.name }} {{ tool.parameters }}
{% endfor %}{% endif %}
{%- for message in messages %}<|{{ message.role }}|>
{{ message.content }}{% for call in message.tool_calls %}
{{ call.name }} {{ call.arguments }}{% endfor %}
{% endfor %}<|assistant|>
"""


class Prompts:
    """Makes prompts; `context_length` is the limit of prompt and answer in tokens."""

    def __init__(
        self, tokenizer: Tokenizer, context_length: int, go_template: Template | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._go_template = go_template
        self._context_length = context_length

    def window(self, request: pb.GenerateRequest) -> Window:
        return Window.of(request, self._context_length)

    async def fit(self, request: pb.GenerateRequest) -> Fitted[None]:
        """Return the prompt's tokens, truncated as the request allows.

        Raises InvalidRequest without a prompt or for unknown ids, CapabilityMissing for media and fill in the
        middle, ContextExceeded without `truncate`.
        """
        window = self.window(request)
        if (templated := await go_prompt_of(request, self._go_template)) is not None:
            _checked(request.prompt.context)
            return await templated.fit(window, self._encode)
        match request.WhichOneof("input"):
            case "chat":
                return await self._fit_chat(request.chat, window)
            case "prompt":
                ids = self._prompt_ids(request.prompt)
            case "raw":
                ids = self._tokenizer.encode(request.raw)
            case "tokens":
                ids = _checked(request.tokens.ids)
            case _:
                raise InvalidRequest("the request has no input: it needs chat, prompt, raw or tokens")
        if not ids:
            raise InvalidRequest("the prompt is empty")
        return fit_ids(ids, window)

    def question(self, request: pb.GenerateRequest) -> str:
        """Return the text that scripts are matched against: the open turn of a chat, or the prompt."""
        match request.WhichOneof("input"):
            case "chat":
                return "\n".join(message.content for message in _open_turn(request.chat))
            case "prompt":
                return request.prompt.text
            case "raw":
                return request.raw
            case _:
                return self._tokenizer.decode(request.tokens.ids)

    async def _encode(self, text: str, add_special: bool) -> list[int]:
        """Ignores `add_special`: there are no special tokens."""
        return self._tokenizer.encode(text)

    async def _fit_chat(self, chat: pb.ChatInput, window: Window) -> Fitted[None]:
        if any(message.images for message in chat.messages):
            raise CapabilityMissing("the simulator cannot see images")

        is_open = chat.continue_last or chat.no_generation_prompt
        listed = [tool for tool in chat.tools if not tool.unlisted]

        async def tokens(messages: Sequence[pb.Message]) -> list[int]:
            return self._tokenizer.encode(_rendered(messages, listed, is_open))

        return await fit_messages(chat.messages, window, tokens)

    def _prompt_ids(self, prompt: pb.PromptInput) -> list[int]:
        if prompt.images:
            raise CapabilityMissing("the simulator cannot see images")
        if prompt.HasField("suffix"):
            raise CapabilityMissing("the simulator cannot fill in the middle")
        turn = [pb.Message(role="user", content=prompt.text)]
        if prompt.HasField("system"):
            turn.insert(0, pb.Message(role="system", content=prompt.system))
        return _checked(prompt.context) + self._tokenizer.encode(_rendered(turn))


def _open_turn(chat: pb.ChatInput) -> Sequence[pb.Message]:
    """The messages after the last assistant message: a question, or tool results and what agents add to them.

    An assistant message that is to be continued does not count, and the system prompt of a new conversation
    is left out.
    """
    messages = chat.messages[:-1] if chat.continue_last else chat.messages
    answered = [number for number, message in enumerate(messages) if message.role == "assistant"]
    if answered:
        return messages[answered[-1] + 1 :]
    return [*dropwhile(lambda message: message.role == "system", messages)]


def _checked(ids: Sequence[int]) -> list[int]:
    bytes_of_all(ids)
    return list(ids)


def _rendered(messages: Sequence[pb.Message], tools: Sequence[pb.Tool] = (), is_open: bool = False) -> str:
    offered = "".join(f"{tool.name} {tool.parameters_json}\n" for tool in tools)
    parts = [f"<|tools|>\n{offered}" if tools else "", *map(_turn, messages)]
    text = "".join(parts)
    return text.removesuffix("\n") if is_open else f"{text}<|assistant|>\n"


def _turn(message: pb.Message) -> str:
    calls = "".join(f"\n{call.name} {call.arguments_json}" for call in message.tool_calls)
    return f"<|{message.role}|>\n{message.content}{calls}\n"
