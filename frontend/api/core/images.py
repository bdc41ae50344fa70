"""Images of a request: decoded from `data:` URLs, and left out of tool results for models without vision.

Claude Code and Codex let any model read image files, and send the result back with every later request: an
error would end the session. The model reads a note instead. An image that a user sends is refused, as
upstream does.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace

from drover.errors import InvalidRequest
from frontend.api.core.request import ChatRequest, Message
from frontend.models.model import CatalogModel

_IMAGE = re.compile(r"data:(image/(jpeg|jpg|png|webp))?;base64,")


def decoded_image(url: str) -> bytes:
    """The bytes of an image. Raises InvalidRequest with upstream's text; nothing is downloaded
    (ollama-contract.md, "OpenAI: chat completions").
    """
    if url.startswith(("http://", "https://")):
        raise InvalidRequest("image URLs are not currently supported, please use base64 encoded data instead")
    found = _IMAGE.match(url)
    if found is None:
        raise InvalidRequest("invalid image input")
    try:
        return base64.b64decode(url[found.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("invalid image input") from None


_ONE = "[An image was left out: this model cannot see images.]"
_SEVERAL = "[{count} images were left out: this model cannot see images.]"


def without_unseen(chat: ChatRequest, model: CatalogModel) -> ChatRequest:
    """The chat without images in tool results that the model cannot see."""
    if not unseen(chat, model):
        return chat
    return replace(
        chat, messages=[_without_images(each) if _has_unseen(each) else each for each in chat.messages]
    )


def unseen(chat: ChatRequest, model: CatalogModel) -> list[str]:
    """What `without_unseen` leaves out, as named in X-Drover-Not-Honoured."""
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
