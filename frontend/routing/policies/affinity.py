"""Affinity key: equal for requests with the same prompt prefix (model, adapter, salt, tools, system message
and first user message, before any truncation).
"""

from __future__ import annotations

from itertools import takewhile

from drover.digests import digest_of
from drover.v1 import engine_pb2 as pb

# Prefill of shorter prompts costs less than waiting for a busy worker.
_MIN_CHARACTERS = 512
_CONTEXT_TOKENS = 64
# Of a prompt whose labels are scored: of a longer state, other questions than before find the same worker.
_STATE_CHARACTERS = 4 * _MIN_CHARACTERS
# Of each text, which may have megabytes, this much is hashed.
_MAX_CHARACTERS = 64 * 1024


def affinity_of(request: pb.GenerateRequest, digest: str) -> bytes | None:
    """The request's key; None for a short prompt without a routing key. `digest`: the model's."""
    if request.routing_key:
        return digest_of([digest, "routing key", request.cache_salt, request.adapter, request.routing_key])
    beginning = [digest, request.cache_salt, request.template, request.adapter]
    match request.WhichOneof("input"):
        case "chat":
            of_chat, whole = _of_chat(request.chat)
            beginning += of_chat
        case "prompt":
            prompt = request.prompt
            system, text = prompt.system, prompt.text
            # With a context, that is the prefix; the text is the new turn.
            context = ",".join(map(str, prompt.context[:_CONTEXT_TOKENS]))
            beginning += [system, context or text]
            whole = len(system) + len(text) + 4 * len(prompt.context)
        case "raw":
            raw = request.raw
            beginning += [raw[: 4 * _MIN_CHARACTERS]]
            whole = len(raw)
        case _:
            return None
    tools = sum(len(tool.parameters_json) + len(tool.description) for tool in request.chat.tools)
    if whole + tools < _MIN_CHARACTERS:
        return None
    return digest_of(text[:_MAX_CHARACTERS] for text in beginning)


def affinity_of_scores(request: pb.ScoreRequest, digest: str) -> bytes | None:
    """The key of what the first prompts begin with alike, which is the state of several questions."""
    texts = [_beginning(item) for item in request.items[:2]]
    alike = takewhile(lambda pair: pair[0] == pair[-1], zip(*texts, strict=False))
    shared = "".join(pair[0] for pair in alike)
    if len(shared) < _MIN_CHARACTERS:
        return None
    return digest_of([digest, request.cache_salt, request.template, request.adapter, shared])


def _beginning(item: pb.ScoreItem) -> str:
    text = item.chat.messages[0].content if item.chat.messages else item.raw
    return text[:_STATE_CHARACTERS]


def _of_chat(chat: pb.ChatInput) -> tuple[list[str], int]:
    """The texts up to the first user message, and a lower bound of the messages' total length. Each field is
    read once, since protobuf decodes the text on every access.
    """
    beginning = [f"{tool.name} {tool.parameters_json}" for tool in chat.tools if not tool.unlisted]
    characters, is_beginning = 0, True
    for message in chat.messages:
        content = message.content
        characters += len(content)
        if is_beginning:
            beginning.append(f"{message.role} {content[:_MAX_CHARACTERS]}")
            is_beginning = message.role != "user"
        elif characters >= _MIN_CHARACTERS:
            break
    return beginning, characters
