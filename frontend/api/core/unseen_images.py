"""Images in the results of tools, for a model that cannot see.

Claude Code and Codex let any model look at image files, and send the result back with every later request: a
refusal would end the session. The model reads that an image was left out, and can go on without. An image
that a user sends is refused, as upstream does.
"""

from __future__ import annotations

from dataclasses import replace

from frontend.api.core.request import ChatRequest, Message
from frontend.models.model import CatalogModel

_ONE = "[An image was left out: this model cannot see images.]"
_SEVERAL = "[{count} images were left out: this model cannot see images.]"


def without_unseen(chat: ChatRequest, model: CatalogModel) -> ChatRequest:
    """The chat as the model can have it."""
    if not unseen(chat, model):
        return chat
    return replace(
        chat, messages=[_without_images(each) if _has_unseen(each) else each for each in chat.messages]
    )


def unseen(chat: ChatRequest, model: CatalogModel) -> list[str]:
    """What is left out, by its name in X-Drover-Not-Honoured."""
    if not chat.skip_unseen_images:
        return []
    has_some = not model.capabilities.vision and any(map(_has_unseen, chat.messages))
    return ["tool_result.images"] if has_some else []


def _has_unseen(message: Message) -> bool:
    return message.role == "tool" and bool(message.images)


def _without_images(message: Message) -> Message:
    count = len(message.images)
    note = _ONE if count == 1 else _SEVERAL.format(count=count)
    return replace(message, content=f"{message.content}\n{note}".lstrip("\n"), images=[])
