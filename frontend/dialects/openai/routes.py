"""All routes of this dialect."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from frontend.dialects.generation import Generation
from frontend.dialects.ollama.embed import Embeddings
from frontend.dialects.openai import embeddings, inference, models, not_here, tokens
from frontend.dialects.tokens import Tokens


def routers(generation: Generation, native_embeddings: Embeddings) -> Sequence[APIRouter]:
    return [
        inference.router(generation),
        embeddings.router(native_embeddings),
        models.router(generation.catalog),
        tokens.router(Tokens(generation)),
        not_here.router(generation),
    ]
