"""What a request asks, as rules and the judge see it: the last user message and a summary of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drover.v1 import engine_pb2 as pb

_MOST_LAST = 1_500
_MOST_EACH = 160
_MOST_EARLIER = 6
_GAP = " … "


@dataclass(frozen=True, slots=True)
class Question:
    """`last` and `earlier` are cut to some length; `characters`: of the whole request."""

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
                earlier = _said("system", prompt.system) if prompt.system else ""
                return cls(_cut(prompt.text, _MOST_LAST), earlier, characters, bool(prompt.images))
            case _:
                return cls(_cut(request.raw, _MOST_LAST), "", len(request.raw))


def _of_chat(chat: pb.ChatInput) -> Question:
    messages = chat.messages
    last = next((at for at in reversed(range(len(messages))) if messages[at].role == "user"), None)
    earlier = [message for at, message in enumerate(messages) if at != last]
    return Question(
        last="" if last is None else _cut(messages[last].content, _MOST_LAST),
        earlier=_summary(earlier),
        characters=sum(len(message.content) for message in messages),
        has_images=any(message.images for message in messages),
        has_tools=bool(chat.tools),
    )


def _summary(messages: Sequence[pb.Message]) -> str:
    """How many there are, and how the latest begin and end."""
    if not messages:
        return ""
    lines = [_said(message.role, message.content) for message in messages[-_MOST_EARLIER:]]
    return "\n".join([f"{len(messages)} earlier messages", *lines])


def _said(role: str, content: str) -> str:
    return f"{_cut(role, _MOST_EACH)}: {_cut(content, _MOST_EACH)}"


def _cut(text: str, most: int) -> str:
    """The beginning and the end say most."""
    if len(text) <= most:
        return text
    half = (most - len(_GAP)) // 2
    return text[:half] + _GAP + text[-half:]
