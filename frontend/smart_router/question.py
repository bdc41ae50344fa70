"""A request as rules and the judge see it: its last user message and a summary of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drover.v1 import engine_pb2 as pb

_MAX_LAST = 1_500
_MAX_EACH = 160
_MAX_EARLIER = 6
_GAP = " … "


@dataclass(frozen=True, slots=True)
class Question:
    """`last` and `earlier` are shortened; `characters`: those of the whole request."""

    last: str
    earlier: str
    characters: int
    has_images: bool = False
    has_tools: bool = False

    @classmethod
    def of(cls, request: pb.GenerateRequest) -> Question:
        match request.WhichOneof("input"):
            case "chat":
                return _of_chat(request.chat)
            case "prompt":
                prompt = request.prompt
                characters = len(prompt.text) + len(prompt.suffix) + len(prompt.system)
                earlier = _line("system", prompt.system) if prompt.system else ""
                return cls(_cut(prompt.text, _MAX_LAST), earlier, characters, bool(prompt.images))
            case _:
                return cls(_cut(request.raw, _MAX_LAST), "", len(request.raw))


def _of_chat(chat: pb.ChatInput) -> Question:
    messages = chat.messages
    last = next((at for at in reversed(range(len(messages))) if messages[at].role == "user"), None)
    earlier = [message for at, message in enumerate(messages) if at != last]
    return Question(
        last="" if last is None else _cut(messages[last].content, _MAX_LAST),
        earlier=_summary(earlier),
        characters=sum(len(message.content) for message in messages),
        has_images=any(message.images for message in messages),
        has_tools=bool(chat.tools),
    )


def _summary(messages: Sequence[pb.Message]) -> str:
    """The number of messages, and the beginning and end of the latest."""
    if not messages:
        return ""
    lines = [_line(message.role, message.content) for message in messages[-_MAX_EARLIER:]]
    return "\n".join([f"{len(messages)} earlier messages", *lines])


def _line(role: str, content: str) -> str:
    return f"{_cut(role, _MAX_EACH)}: {_cut(content, _MAX_EACH)}"


def _cut(text: str, limit: int) -> str:
    """Keep the beginning and the end."""
    if len(text) <= limit:
        return text
    half = (limit - len(_GAP)) // 2
    return text[:half] + _GAP + text[-half:]
