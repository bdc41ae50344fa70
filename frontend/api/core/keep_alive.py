"""`keep_alive` of a request, as workers get it."""

from __future__ import annotations

from drover.v1 import engine_pb2 as pb
from frontend.access.keep_alive import bounded_keep_alive

_KeepsAlive = (
    pb.GenerateRequest
    | pb.EmbedRequest
    | pb.RerankRequest
    | pb.ClassifyRequest
    | pb.ScoreRequest
    | pb.LoadRequest
)


def set_keep_alive(request: _KeepsAlive, keep_alive_ns: int | None) -> None:
    """As long as the key of the request may keep the model; None: the worker's own time."""
    if keep_alive_ns is not None:
        request.keep_alive_ns = bounded_keep_alive(keep_alive_ns)


def load_to_proto(keep_alive_ns: int | None) -> pb.LoadRequest:
    request = pb.LoadRequest()
    set_keep_alive(request, keep_alive_ns)
    return request
