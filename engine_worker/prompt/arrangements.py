"""Rearrange conversations so that the model's chat template accepts them.

Some templates accept one system message only, at the front; some want alternating users and assistants; some
have no system role. They raise at other conversations, or silently leave out a message. Arrangements are
tried from the one that changes nothing to the one that changes most.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from drover.errors import InvalidRequest
from drover.go_template.conversation import collated
from drover.v1 import engine_pb2 as pb

Messages = Sequence[pb.Message]
Arrange = Callable[[Messages], Messages]
Made = TypeVar("Made")

_SYSTEM_ROLES = ("system", "developer")
_BETWEEN = "\n\n"
# Texts that no template contains.
_PROBE = (
    pb.Message(role="system", content="drover-rules"),
    pb.Message(role="user", content="drover-asks"),
    pb.Message(role="assistant", content="drover-answers"),
    pb.Message(role="system", content="drover-notes"),
    pb.Message(role="user", content="drover-insists"),
)
_log = logging.getLogger("drover.worker")


class TemplateRefusal(Exception):
    """The template does not accept these messages.

    `message` is the template's own message; empty if its code failed, then `detail` is for the log.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message or detail)
        self.message = message
        self.detail = detail


def as_sent(messages: Messages) -> Messages:
    return messages


def system_first(messages: Messages) -> Messages:
    """Join all system and developer messages into one system message at the front.

    Those at the end, directly after an assistant message, become a user message instead: otherwise the model
    would have to answer its own message.
    """
    end = len(messages)
    while end and messages[end - 1].role in _SYSTEM_ROLES:
        end -= 1
    answered = 0 < end < len(messages) and messages[end - 1].role == "assistant"
    last = [_joined("user", messages[end:])] if answered else []
    rest = messages[:end] if answered else messages
    systems = [message for message in rest if message.role in _SYSTEM_ROLES]
    if not systems:
        return [*rest, *last]
    if len(systems) == 1 and rest[0].role == "system":
        return [*rest, *last]
    others = [message for message in rest if message.role not in _SYSTEM_ROLES]
    return [_joined("system", systems), *others, *last]


def in_turns(messages: Messages) -> Messages:
    """As `system_first`; also join neighbours of one role, and begin with a user message."""
    arranged = system_first(messages)
    has_system = bool(arranged) and arranged[0].role == "system"
    first, turns = (arranged[:1], arranged[1:]) if has_system else ([], arranged)
    if not turns or turns[0].role != "user":
        turns = [pb.Message(role="user"), *turns]
    return [*first, *collated(turns)]


def without_system(messages: Messages) -> Messages:
    """As `in_turns`; also put the system message's text in front of the first user message."""
    arranged = in_turns(messages)
    if arranged[0].role != "system":
        return arranged
    return [_joined("user", arranged[:2]), *arranged[2:]]


ARRANGEMENTS: Sequence[Arrange] = (as_sent, system_first, in_turns, without_system)


async def probed(render: Callable[[Messages], Awaitable[str]]) -> Sequence[Arrange]:
    """Find the first arrangement with which the template renders all messages of a probe conversation, and
    return it and those after it; all arrangements if none does.
    """
    for at, arrange in enumerate(ARRANGEMENTS):
        try:
            prompt = await render(arrange(_PROBE))
        except (TemplateRefusal, InvalidRequest):
            continue
        if all(message.content in prompt for message in _PROBE):
            return ARRANGEMENTS[at:]
    return ARRANGEMENTS


async def arranged(arrangements: Sequence[Arrange], make: Callable[[Arrange], Awaitable[Made]]) -> Made:
    """Return what `make` returns with the first arrangement that the template accepts.

    Raises InvalidRequest, about the messages as they were sent, if it accepts none, and what `make` raises.
    """
    first: TemplateRefusal | None = None
    for arrange in arrangements:
        try:
            return await make(arrange)
        except TemplateRefusal as refusal:
            first = first or refusal
    assert first is not None
    if first.detail:
        _log.info("the chat template failed: %s", first.detail)
    reason = first.message or "it fails at them"
    raise InvalidRequest(f"the model's chat template does not accept these messages: {reason}") from first


def _joined(role: str, messages: Messages) -> pb.Message:
    texts = (message.content.strip() for message in messages)
    joined = pb.Message(role=role, content=_BETWEEN.join(filter(None, texts)))
    for message in messages:
        joined.images.extend(message.images)
    return joined
