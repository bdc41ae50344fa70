"""What makes two requests begin alike: model, salt, tools, system message and first user message, as they are
before anything is truncated (issue 5).
"""

from __future__ import annotations

from hashlib import blake2b

from drover.v1 import engine_pb2 as pb

# Computing fewer characters than these again costs less than waiting for a busy worker.
_LEAST_CHARACTERS = 512
_CONTEXT_TOKENS = 64


def affinity_of(request: pb.GenerateRequest, digest: str) -> bytes | None:
    """None for a short prompt."""
    beginning = [digest, request.cache_salt, request.template]
    match request.WhichOneof("input"):
        case "chat":
            beginning += _of_chat(request.chat)
            whole = sum(len(message.content) for message in request.chat.messages)
        case "prompt":
            prompt = request.prompt
            # With a context, what begins alike is the context; the text is the new turn.
            context = ",".join(map(str, prompt.context[:_CONTEXT_TOKENS]))
            beginning += [prompt.system, context or prompt.text]
            whole = len(prompt.system) + len(prompt.text) + 4 * len(prompt.context)
        case "raw":
            beginning += [request.raw[: 4 * _LEAST_CHARACTERS]]
            whole = len(request.raw)
        case _:
            return None
    tools = sum(len(tool.parameters_json) + len(tool.description) for tool in request.chat.tools)
    if whole + tools < _LEAST_CHARACTERS:
        return None
    key = blake2b(digest_size=16)
    for part in beginning:
        data = part.encode(errors="replace")
        key.update(b"%d:" % len(data))
        key.update(data)
    return key.digest()


def _of_chat(chat: pb.ChatInput) -> list[str]:
    beginning = [f"{tool.name} {tool.parameters_json}" for tool in chat.tools if not tool.unlisted]
    for message in chat.messages:
        beginning.append(f"{message.role} {message.content}")
        if message.role == "user":
            break
    return beginning
