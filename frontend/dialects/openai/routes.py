"""All routes of this dialect."""

from __future__ import annotations

from collections.abc import Sequence

from frontend.dialects.generation import Generation
from frontend.dialects.ollama.embed import Embeddings
from frontend.dialects.openai import embeddings, inference, models, not_here, tokens
from frontend.dialects.tokens import Tokens
from frontend.http.routes import DirectRoute


def routes(generation: Generation, native_embeddings: Embeddings) -> Sequence[DirectRoute]:
    return [
        *inference.routes(generation),
        *embeddings.routes(native_embeddings),
        *models.routes(generation.catalog),
        *tokens.routes(Tokens(generation)),
        *not_here.routes(generation),
    ]
