"""What makes two requests begin alike: model, salt, tools, system message and first user message, as they are
before anything is truncated.
"""

from __future__ import annotations

from hashlib import blake2b

from drover.v1 import engine_pb2 as pb

# Computing fewer characters than these again costs less than waiting for a busy worker.
_LEAST_CHARACTERS = 512
_CONTEXT_TOKENS = 64
# Of each text that may have megabytes, so many are compared: who shares these shares much of the work.
_MOST_CHARACTERS = 64 * 1024


def affinity_of(request: pb.GenerateRequest, digest: str) -> bytes | None:
    """None for a short prompt."""
    beginning = [digest, request.cache_salt, request.template]
    match request.WhichOneof("input"):
        case "chat":
            of_chat, whole = _of_chat(request.chat)
            beginning += of_chat
        case "prompt":
            prompt = request.prompt
            system, text = prompt.system, prompt.text
            # With a context, what begins alike is the context; the text is the new turn.
            context = ",".join(map(str, prompt.context[:_CONTEXT_TOKENS]))
            beginning += [system, context or text]
            whole = len(system) + len(text) + 4 * len(prompt.context)
        case "raw":
            raw = request.raw
            beginning += [raw[: 4 * _LEAST_CHARACTERS]]
            whole = len(raw)
        case _:
            return None
    tools = sum(len(tool.parameters_json) + len(tool.description) for tool in request.chat.tools)
    if whole + tools < _LEAST_CHARACTERS:
        return None
    key = blake2b(digest_size=16)
    for part in beginning:
        data = part[:_MOST_CHARACTERS].encode(errors="replace")
        key.update(b"%d:" % len(data))
        key.update(data)
    return key.digest()


def _of_chat(chat: pb.ChatInput) -> tuple[list[str], int]:
    """Up to the first user message, and how many characters the messages have, or at least have. Each read of
    a field makes the text anew.
    """
    beginning = [f"{tool.name} {tool.parameters_json}" for tool in chat.tools if not tool.unlisted]
    characters, is_beginning = 0, True
    for message in chat.messages:
        content = message.content
        characters += len(content)
        if is_beginning:
            beginning.append(f"{message.role} {content[:_MOST_CHARACTERS]}")
            is_beginning = message.role != "user"
        elif characters >= _LEAST_CHARACTERS:
            break
    return beginning, characters
