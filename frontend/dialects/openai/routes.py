"""All routes of this dialect."""

from __future__ import annotations

from fastapi import APIRouter

from frontend.dialects.generation import Generation
from frontend.dialects.ollama.embed import Embeddings
from frontend.dialects.openai import embeddings, inference, models, not_here, tokens
from frontend.dialects.tokens import Tokens


def router(generation: Generation, native_embeddings: Embeddings) -> APIRouter:
    routes = APIRouter()
    routes.include_router(inference.router(generation))
    routes.include_router(embeddings.router(native_embeddings))
    routes.include_router(models.router(generation.catalog))
    routes.include_router(tokens.router(Tokens(generation)))
    routes.include_router(not_here.router(generation))
    return routes
