"""The items of a response's output."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from drover.json_value import Json
from frontend.api.blocks import Block, Kind

_PREFIXES = {Kind.THINKING: "rs", Kind.TEXT: "msg", Kind.CALL: "fc"}


class OutputItems:
    """Builder of a response's output items.

    `namespaces`: namespace and name of functions in a namespace, by the name that the model uses.
    """

    def __init__(self, namespaces: Mapping[str, tuple[str, str]]) -> None:
        self._namespaces = namespaces
        self._token = secrets.token_hex(12)

    @property
    def response_id(self) -> str:
        return f"resp_{self._token}"

    @property
    def compaction_id(self) -> str:
        return f"cmp_{self._token}"

    def item_id(self, block: Block) -> str:
        return f"{_PREFIXES[block.kind]}_{self._token}_{block.index}"

    def name_of(self, block: Block) -> tuple[str, str]:
        """The called function's namespace, empty if it has none, and its name."""
        return self._namespaces.get(block.name, ("", block.name))

    def item(self, block: Block, status: str) -> dict[str, Json]:
        """The block's item; without content while in progress, since deltas carry it.

        An incomplete call has the status incomplete, whatever the response's status is.
        """
        text = block.text
        match block.kind:
            case Kind.THINKING:
                return self._reasoning(block, text, status)
            case Kind.TEXT:
                content: list[Json] = [] if status == "in_progress" else [text_part(text)]
                return {
                    "id": self.item_id(block),
                    "type": "message",
                    "status": status,
                    "role": "assistant",
                    "content": content,
                }
            case Kind.CALL:
                return self._call(block, text, status)

    def _reasoning(self, block: Block, text: str, status: str) -> dict[str, Json]:
        """`encrypted_content` is the plain text, as in Ollama; clients send it back."""
        item: dict[str, Json] = {"id": self.item_id(block), "type": "reasoning", "summary": []}
        if status == "in_progress":
            return item
        return {**item, "summary": [summary_part(text)], "encrypted_content": text}

    def _call(self, block: Block, text: str, status: str) -> dict[str, Json]:
        namespace, name = self.name_of(block)
        finished = "completed" if block.complete else "incomplete"
        item: dict[str, Json] = {
            "id": self.item_id(block),
            "type": "function_call",
            "status": status if status == "in_progress" else finished,
            "call_id": block.call_id,
            "name": name,
            "arguments": "" if status == "in_progress" else text,
        }
        return {**item, "namespace": namespace} if namespace else item


def summary_part(text: str) -> dict[str, Json]:
    return {"type": "summary_text", "text": text}


def text_part(text: str) -> dict[str, Json]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
