"""The simulator's script for benchmarks, and the two forms of the request that plays it.

Every step gives one token, and every token has the same text with one mark in it: then a client knows how
many tokens it has had by counting bytes, however the tiers put them together.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from drover.v1 import engine_pb2 as pb

MODEL = "sim"
PATH = "/api/chat"
# Three bytes, so one token of the simulator's; the mark occurs nowhere else in a response.
TOKEN = " ~,"
MARK = b"~"


def write_script(folder: Path, tokens: int) -> Path:
    """Every prompt's answer has exactly so many tokens, unless the request wants fewer."""
    path = folder / f"answers-{tokens}.json"
    path.write_text(json.dumps([{"match": "", "events": [{"text": TOKEN, "repeat": tokens}]}]))
    return path


def question() -> str:
    """Always new, so that no prefix cache knows it, and always as many tokens."""
    return f"Please count the sheep of herd {secrets.token_hex(4)}"


def http_body(text: str, tokens: int) -> dict[str, object]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "options": {"num_predict": tokens, "temperature": 0},
    }


def proto_request(text: str, tokens: int) -> pb.GenerateRequest:
    return pb.GenerateRequest(
        request_id=secrets.token_hex(16),
        chat=pb.ChatInput(messages=[pb.Message(role="user", content=text)]),
        sampling=pb.Sampling(temperature=0, max_tokens=tokens),
    )
