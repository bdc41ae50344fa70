"""The items of a response's output."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from drover.json_value import Json
from frontend.api.blocks import Block, Kind

_PREFIXES = {Kind.THINKING: "rs", Kind.TEXT: "msg", Kind.CALL: "fc"}


class Output:
    """`namespaces`: namespace and name of functions that are in one, by the name that the model knows."""

    def __init__(self, namespaces: Mapping[str, tuple[str, str]]) -> None:
        self._namespaces = namespaces
        self._token = secrets.token_hex(12)

    @property
    def response_id(self) -> str:
        return f"resp_{self._token}"

    def item_id(self, block: Block) -> str:
        return f"{_PREFIXES[block.kind]}_{self._token}_{block.index}"

    def name_of(self, block: Block) -> tuple[str, str]:
        """The namespace, or nothing, and the name of the function that is called."""
        return self._namespaces.get(block.name, ("", block.name))

    def item(self, block: Block, status: str) -> dict[str, Json]:
        """With nothing in it while it is in progress: that is told as it comes. A call that is not whole is
        incomplete, whatever the answer is.
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
        """`encrypted_content` is the plain text, as upstream's is; clients send it back."""
        begun: dict[str, Json] = {"id": self.item_id(block), "type": "reasoning", "summary": []}
        if status == "in_progress":
            return begun
        return {**begun, "summary": [summary_part(text)], "encrypted_content": text}

    def _call(self, block: Block, text: str, status: str) -> dict[str, Json]:
        namespace, name = self.name_of(block)
        whole = "completed" if block.complete else "incomplete"
        called: dict[str, Json] = {
            "id": self.item_id(block),
            "type": "function_call",
            "status": status if status == "in_progress" else whole,
            "call_id": block.call_id,
            "name": name,
            "arguments": "" if status == "in_progress" else text,
        }
        return {**called, "namespace": namespace} if namespace else called


def summary_part(text: str) -> dict[str, Json]:
    return {"type": "summary_text", "text": text}


def text_part(text: str) -> dict[str, Json]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
