"""The arguments that a request adds to those of the chat template."""

from __future__ import annotations

import json
import re

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb

_FIELD = "chat_template_kwargs"
_MAX_CHARACTERS = 64 * 1024
_MAX_ARGUMENTS = 64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# What the renderer itself hands to the template, and parameters of the libraries' rendering functions. A
# template in a request would be a program that runs in the worker.
_RESERVED = frozenset(
    {
        "add_generation_prompt",
        "bos_token",
        "chat_template",
        "continue_final_message",
        "conversation",
        "conversations",
        "eos_token",
        "json_schema",
        "max_length",
        "messages",
        "padding",
        "raise_exception",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "self",
        "strftime_now",
        "tokenize",
        "tokenizer",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)


def template_arguments(request: pb.GenerateRequest) -> dict[str, object]:
    """The further arguments of the template. Raises InvalidRequest for those that no request may set."""
    text = request.template_arguments_json
    if not text:
        return {}
    if len(text) > _MAX_CHARACTERS:
        raise InvalidRequest(
            f"{_FIELD}: {len(text)} characters are too many, at most {_MAX_CHARACTERS} are possible"
        )
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{_FIELD}: it cannot be read as JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise InvalidRequest(f"{_FIELD}: it must be an object")
    if len(arguments) > _MAX_ARGUMENTS:
        raise InvalidRequest(
            f"{_FIELD}: {len(arguments)} arguments are too many, at most {_MAX_ARGUMENTS} are possible"
        )
    for name in arguments:
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{_FIELD}: {name[:64]!r} is no name of a template's variable")
        if name in _RESERVED:
            raise InvalidRequest(f"{_FIELD}: {name!r} cannot be set by a request")
    return arguments
