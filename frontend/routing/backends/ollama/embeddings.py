"""Converts EmbedRequest and EmbedResponse to and from `/api/embed` and `/api/embeddings`.

Source: docs/reference/ollama-contract.md, "Embeddings".
"""

from __future__ import annotations

from collections.abc import Mapping

from drover.errors import EngineFailed
from drover.json_value import Json
from drover.ollama_options import UINT32_MAX
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.ollama.body import Body, go_duration


def embed_body(request: pb.EmbedRequest, model: str) -> Body:
    body = _common(request, model) | {"input": list(request.texts)}
    if request.HasField("truncate"):
        body["truncate"] = request.truncate
    if request.dimensions:
        body["dimensions"] = request.dimensions
    return body


def embeddings_body(request: pb.EmbedRequest, text: str, model: str) -> Body:
    """Body for the older route, which does not normalise the vector."""
    return _common(request, model) | {"prompt": text}


def embeddings_of(vectors: Json, answer: Mapping[str, Json]) -> pb.EmbedResponse:
    """`answer`: the body of `/api/embed`, for its counts. Raises EngineFailed for invalid vectors."""
    if not isinstance(vectors, list):
        raise EngineFailed("the Ollama host answered without vectors")
    tokens, total, load = (
        answer.get(key) for key in ("prompt_eval_count", "total_duration", "load_duration")
    )
    load_ns = load if isinstance(load, int) and load > 0 else 0
    total_ns = total if isinstance(total, int) and total > 0 else 0
    return pb.EmbedResponse(
        embeddings=[pb.Embedding(values=_numbers(vector)) for vector in vectors],
        prompt_tokens=min(max(0, tokens), UINT32_MAX) if isinstance(tokens, int) else 0,
        timings=pb.Timings(load_ns=load_ns, prefill_ns=max(0, total_ns - load_ns)),
    )


def _common(request: pb.EmbedRequest, model: str) -> Body:
    body: Body = {"model": model}
    if request.HasField("num_ctx"):
        body["options"] = {"num_ctx": request.num_ctx}
    if request.HasField("keep_alive_ns"):
        body["keep_alive"] = go_duration(request.keep_alive_ns)
    return body


def _numbers(vector: Json) -> list[float]:
    if not isinstance(vector, list):
        raise EngineFailed("the Ollama host answered with an invalid vector")
    numbers = [each for each in vector if isinstance(each, int | float)]
    if len(numbers) != len(vector):
        raise EngineFailed("the Ollama host answered with a vector that has values other than numbers")
    return numbers
