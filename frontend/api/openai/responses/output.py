"""The items of a response's output."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from drover.json_value import Json
from frontend.api.blocks import Block, Kind
from frontend.api.openai.responses.calls import DEFAULT_NAMESPACE, FORMATS, Origin, call_item

_RESPONSE_ID = re.compile(r"resp_[0-9a-f]{24}")
_PREFIXES = {Kind.THINKING: "rs", Kind.TEXT: "msg"}


class OutputItems:
    """Builder of a response's output items. `origins`: the client's tools by the names that models use."""

    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._origins = origins
        self._token = secrets.token_hex(12)

    @property
    def response_id(self) -> str:
        return f"resp_{self._token}"

    @property
    def token(self) -> str:
        """The part that the ids of the response and of its items have in common."""
        return self._token

    @property
    def compaction_id(self) -> str:
        return f"cmp_{self._token}"

    def item_id(self, block: Block) -> str:
        is_call = block.kind is Kind.CALL
        prefix = FORMATS[self.origin_of(block).kind].prefix if is_call else _PREFIXES[block.kind]
        return f"{prefix}_{self._token}_{block.index}"

    def origin_of(self, call: Block) -> Origin:
        """The tool that is called. Some models write the default namespace in front of a name."""
        name = call.name
        found = self._origins.get(name) or self._origins.get(name.removeprefix(f"{DEFAULT_NAMESPACE}."))
        return found or Origin(name)

    def item(self, block: Block, status: str) -> dict[str, Json]:
        """The block's item; without content while in progress, since deltas carry it."""
        match block.kind:
            case Kind.THINKING:
                return self._reasoning(block, block.text, status)
            case Kind.TEXT:
                content: list[Json] = [] if status == "in_progress" else [text_part(block.text)]
                return {
                    "id": self.item_id(block),
                    "type": "message",
                    "status": status,
                    "role": "assistant",
                    "content": content,
                }
            case Kind.CALL:
                return call_item(self.origin_of(block), self.item_id(block), block, status)

    def _reasoning(self, block: Block, text: str, status: str) -> dict[str, Json]:
        """`encrypted_content` is the plain text, as in Ollama; clients send it back."""
        item: dict[str, Json] = {"id": self.item_id(block), "type": "reasoning", "summary": []}
        if status == "in_progress":
            return item
        return {**item, "summary": [summary_part(text)], "encrypted_content": text}


def is_response_id(text: str) -> bool:
    """True for an id that a response may have; PostgreSQL refuses some other texts."""
    return _RESPONSE_ID.fullmatch(text) is not None


def summary_part(text: str) -> dict[str, Json]:
    return {"type": "summary_text", "text": text}


def text_part(text: str) -> dict[str, Json]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
