"""What keeps prefix caches apart, beyond the prompt's tokens."""

from __future__ import annotations

from drover.v1 import engine_pb2 as pb


def cache_key(request: pb.GenerateRequest | pb.ScoreRequest) -> str:
    """Requests with different keys share no prefix: each adapter computes other values, and a salt asks for
    it.
    """
    return f"{request.adapter}/{request.cache_salt}" if request.adapter else request.cache_salt
