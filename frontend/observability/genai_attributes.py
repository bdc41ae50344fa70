"""Attributes of OpenTelemetry's semantic conventions for generative AI (v1.42).

They are on the request's span only: tools add up the tokens of all spans that have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import Message

from drover.tracing.span import Attribute
from drover.v1 import engine_pb2 as pb

if TYPE_CHECKING:
    from frontend.observability.request_record import RequestRecord

_PROVIDER = "drover"
_OPERATIONS = {
    "/api/chat": "chat",
    "/console/chat": "chat",
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/api/generate": "text_completion",
    "/v1/completions": "text_completion",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
    "/v1/embeddings": "embeddings",
    "background": "chat",
}
# Of the conventions for requests, by the fields of Sampling. Stop texts are the client's own: left out.
_SAMPLING = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "max_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
}
_DECIMALS = 6


def of_request(request: Message) -> dict[str, Attribute]:
    if not isinstance(request, pb.GenerateRequest):
        return {}
    sampling = request.sampling
    found: dict[str, Attribute] = {"gen_ai.request.stream": not request.whole}
    for field, name in _SAMPLING.items():
        if sampling.HasField(field):  # type: ignore[arg-type]  # the names are those of the message
            value = getattr(sampling, field)
            # A float of the message has 24 bits: 0.7 would be 0.699999988.
            found[name] = round(value, _DECIMALS) if isinstance(value, float) else value
    return found


def of_result(record: RequestRecord, route: str) -> dict[str, Attribute]:
    """Empty for a request that had no model. The model's name is the client's text only where the fleet
    serves it.
    """
    if not record.served:
        return {}
    asked = record.fields.get("model")
    found: dict[str, Attribute] = {
        "gen_ai.provider.name": _PROVIDER,
        "gen_ai.request.model": asked if isinstance(asked, str) else record.served,
        "gen_ai.response.model": record.served,
    }
    if (operation := _OPERATIONS.get(route)) is not None:
        found["gen_ai.operation.name"] = operation
    if record.ttft_ns:
        found["gen_ai.response.time_to_first_chunk"] = record.ttft_ns / 1e9
    return found | _usage(record)


def _usage(record: RequestRecord) -> dict[str, Attribute]:
    done = record.done
    if done is None:
        tokens = record.fields.get("prompt_tokens")
        return {"gen_ai.usage.input_tokens": tokens} if isinstance(tokens, int) else {}
    found: dict[str, Attribute] = {
        "gen_ai.usage.input_tokens": done.prompt_tokens,
        "gen_ai.usage.output_tokens": done.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": done.cached_tokens,
    }
    if done.reasoning_tokens:
        found["gen_ai.usage.reasoning.output_tokens"] = done.reasoning_tokens
    if done.finish_reason:
        found["gen_ai.response.finish_reasons"] = [pb.Done.FinishReason.Name(done.finish_reason).lower()]
    return found
