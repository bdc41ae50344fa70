"""The routers of all routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from frontend.api.decisions import Decisions
from frontend.api.embeddings import Embeddings
from frontend.api.generation import Generation
from frontend.api.openai import embeddings, inference, models, tokens, unsupported
from frontend.api.openai.decisions import decisions
from frontend.api.openai.responses import compact, input_tokens, responses, stored_routes
from frontend.api.openai.responses.compact import Compactions
from frontend.api.openai.responses.incoming import IncomingBodies
from frontend.api.openai.responses.storing import ResponseStore
from frontend.api.tokens import Tokens


def routers(
    generation: Generation,
    native_embeddings: Embeddings,
    native_decisions: Decisions,
    store: ResponseStore | None,
) -> Sequence[APIRouter]:
    """One router for each module of handlers. `store` is None where no responses are stored."""
    bodies = IncomingBodies(generation.settings, store.stored if store else None)
    compactions = Compactions(generation, bodies)
    return [
        inference.router(generation),
        responses.router(generation, bodies, compactions, store),
        compact.router(compactions),
        input_tokens.router(generation, bodies),
        stored_routes.router(store, generation.in_flight),
        embeddings.router(native_embeddings),
        decisions.router(native_decisions),
        models.router(generation.catalog),
        tokens.router(Tokens(generation)),
        unsupported.router(generation),
    ]
