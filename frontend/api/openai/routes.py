"""The routers of all routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from frontend.api.decisions import Decisions
from frontend.api.embeddings import Embeddings
from frontend.api.generation import Generation
from frontend.api.openai import embeddings, inference, models, tokens, unsupported
from frontend.api.openai.decisions import decisions
from frontend.api.openai.responses import compact, input_tokens, responses
from frontend.api.openai.responses.compact import Compactions
from frontend.api.tokens import Tokens


def routers(
    generation: Generation, native_embeddings: Embeddings, native_decisions: Decisions
) -> Sequence[APIRouter]:
    """One router for each module of handlers."""
    compactions = Compactions(generation)
    return [
        inference.router(generation),
        responses.router(generation, compactions),
        compact.router(compactions),
        input_tokens.router(generation),
        embeddings.router(native_embeddings),
        decisions.router(native_decisions),
        models.router(generation.catalog),
        tokens.router(Tokens(generation)),
        unsupported.router(generation),
    ]
