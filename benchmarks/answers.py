"""The simulator's script for benchmarks: answers of numbered tokens, one token in each engine step."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from benchmarks.client.numbered import token
from drover.v1 import engine_pb2 as pb

MODEL = "sim"
PATH = "/api/chat"


def write_script(folder: Path, tokens: int, tokens_a_step: int = 1) -> Path:
    """A script whose responses have exactly `tokens` tokens, unless the request sets a lower limit."""
    path = folder / f"answers-{tokens}-{tokens_a_step}.json"
    steps = [
        {"text": "".join(map(token, range(first, min(first + tokens_a_step, tokens))))}
        for first in range(0, tokens, tokens_a_step)
    ]
    path.write_text(json.dumps([{"match": "", "events": steps}]))
    return path


def question() -> str:
    """A prompt of constant length that is new each time, so that no prefix cache has it."""
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
