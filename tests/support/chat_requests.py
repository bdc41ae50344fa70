"""Chat requests for engines with known answers."""

from __future__ import annotations

import json

from drover.v1 import engine_pb2 as pb


def tool(name: str, parameters: str = "") -> pb.Tool:
    parameters = parameters or json.dumps(
        {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris"]}},
            "required": ["city"],
            "additionalProperties": False,
        }
    )
    return pb.Tool(name=name, description="Asks.", parameters_json=parameters)


def chat(content: str = "hi", **sampling: object) -> pb.GenerateRequest:
    request = pb.GenerateRequest(sampling=pb.Sampling(temperature=0))
    request.chat.messages.add(role="user", content=content)
    request.sampling.MergeFrom(pb.Sampling(**sampling))  # type: ignore[arg-type]  # mypy cannot type fields in **
    return request


def chat_with(*tools: pb.Tool, content: str = "Hi", **sampling: object) -> pb.GenerateRequest:
    request = chat(content, **{"max_tokens": 100, **sampling})
    request.chat.tools.extend(tools)
    return request
