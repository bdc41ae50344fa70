"""What the dialects' responses share: JSON, server-sent events, extra fields, headers, an error's text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from drover.errors import ContextExceeded, DroverError, mapping_of
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json, dump_text, dumps_text

JSON = "application/json; charset=utf-8"
CONTENT_TYPE = b"text/event-stream"
# Clients skip it.
COMMENT = b":\n\n"


def frame(data: bytes, event: bytes = b"") -> bytes:
    """Frame a server-sent event. `data` has no line break in it, like all compact JSON."""
    return b"event: %b\ndata: %b\n\n" % (event, data) if event else b"data: %b\n\n" % data


def json_array(items: Sequence[bytes]) -> bytes:
    """Empty, not `[]`, when there is nothing in it."""
    return b"[" + b",".join(items) + b"]" if items else b""


ExtraFields = Callable[[], Mapping[str, str]]
"""Returns the fields that Drover adds to the end of a response, where their values are known."""


def encode_extra_fields(extra_fields: ExtraFields) -> bytes:
    """`,"name":"text"` for each."""
    return b"".join(b",%b:%b" % (dumps_text(name), dumps_text(text)) for name, text in extra_fields().items())


# Names come from workers and requests. Headers take only these characters, and clients bound their length.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_NAMES = 50


@dataclass(frozen=True, slots=True)
class DiagnosticHeaders:
    """X-Drover-Not-Honoured and X-Drover-Truncated-Tokens of a response."""

    not_honoured: list[str]
    truncated_tokens: int

    @classmethod
    def of(cls, started: pb.Started, ignored: Iterable[str]) -> DiagnosticHeaders:
        """`ignored`: names of fields that the dialect accepts without effect."""
        names = dict.fromkeys([*started.not_honoured, *ignored])
        plain = (name for name in names if _NAME.fullmatch(name))
        return cls([*islice(plain, _MAX_NAMES)], started.truncated_tokens)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Empty where all is honoured and nothing was cut off."""
        headers = []
        if self.not_honoured:
            headers.append((b"x-drover-not-honoured", ", ".join(self.not_honoured).encode()))
        if self.truncated_tokens:
            headers.append((b"x-drover-truncated-tokens", b"%d" % self.truncated_tokens))
        return headers


def ignored_header(names: Iterable[str]) -> dict[str, str]:
    """X-Drover-Not-Honoured for responses without engine events; empty where all is honoured."""
    headers = DiagnosticHeaders.of(pb.Started(), names).headers()
    return {name.decode(): value.decode() for name, value in headers}


def error_text(error: DroverError) -> str:
    """Return the message; for a prompt that is too long, llama-server's object as text, as Ollama does."""
    if not (isinstance(error, ContextExceeded) and error.context_tokens):
        return error.message
    reason: Json = {
        "code": mapping_of(error).http,
        "message": f"request ({error.prompt_tokens} tokens) exceeds the available context size "
        f"({error.context_tokens} tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": error.prompt_tokens,
        "n_ctx": error.context_tokens,
    }
    return dump_text({"error": reason})
