"""Results of tools as text and images for the model.

They come from the client's tools, and from tools that Anthropic's servers ran earlier in the conversation.
"""

from __future__ import annotations

from drover.json_value import Json
from frontend.api.anthropic.blocks import (
    UNREADABLE_SOURCES,
    ContentBlock,
    blocks_of,
    document_text,
    image_bytes,
    text_of,
)
from frontend.api.anthropic.tools import DeferrableTools
from frontend.api.core.go_json import dump_text

_ERROR = "Error"
# Claude Code sends PDF files to any model, and repeats them in each later request.
_UNREADABLE = "[A document was left out: only text can be read here.]"
# Beginnings of texts that report a failure themselves.
_ERROR_PREFIXES = ("error", "<tool_use_error>")


def result_of(
    block: ContentBlock, where: str, tools: DeferrableTools, ignored: list[str]
) -> tuple[str, list[bytes]]:
    """The result's text and images. Types of skipped parts are added to `ignored`."""
    content = block.content
    if isinstance(content, dict) or block.type == "web_search_tool_result":
        text, images = _server_tool_text(content, where, tools, ignored), []
    else:
        parts = [*blocks_of(content, f"{where}.content")]
        text = "".join(_part_text(part, where, tools, ignored) for part in parts)
        images = [image_bytes(part, where) for part in parts if part.type == "image"]
    return (_error_text(text) if block.is_error else text), images


def _error_text(text: str) -> str:
    if text.lstrip().lower().startswith(_ERROR_PREFIXES):
        return text
    return f"{_ERROR}: {text}" if text else _ERROR


def _part_text(part: ContentBlock, where: str, tools: DeferrableTools, ignored: list[str]) -> str:
    match part.type:
        case "text":
            return part.text
        case "document" if (part.source or {}).get("type") in UNREADABLE_SOURCES:
            ignored.append("tool_result.document")
            return _UNREADABLE
        case "document":
            return document_text(part, where)
        case "search_result":
            return text_of(part.content, where)
        case "tool_reference":
            return tools.load(part.tool_name)
        case "image":
            return ""
        case other:
            ignored.append(f"content.{other}")
            return ""


def _server_tool_text(value: Json, where: str, tools: DeferrableTools, ignored: list[str]) -> str:
    """The result of one of Anthropic's own tools as text."""
    if isinstance(value, list):
        found = (item for item in value if isinstance(item, dict))
        return "".join(f"- {item.get('title', '')}: {item.get('url', '')}\n" for item in found)
    if not isinstance(value, dict):
        return ""
    match value:
        case {"error_code": code}:
            return f"{value.get('type', '')}: {code}"
        case {"stdout": stdout}:
            ended = f"return code {value.get('return_code')}" if value.get("return_code") else ""
            return "\n".join(str(part) for part in (stdout, value.get("stderr"), ended) if part)
        case {"tool_references": list(references)}:
            names = (each.get("tool_name") for each in references if isinstance(each, dict))
            return "".join(tools.load(str(name)) for name in names if name)
        case {"type": "web_fetch_result", "content": dict(document)}:
            pages = blocks_of([document], where)
            return "".join(
                f"{value.get('url', '')}\n{_part_text(page, where, tools, ignored)}" for page in pages
            )
        case _:
            return dump_text({name: each for name, each in value.items() if name != "type"})
