"""Tokenizing and detokenizing, by a worker that serves the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from google.protobuf.message import Message

from drover.errors import CapabilityMissing, InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.typed_fields import FieldPath
from frontend.api.generation import Generation
from frontend.models.model import CatalogModel, workers_of
from frontend.routing.backends.base import Worker

Found = TypeVar("Found")
MAX_TEXTS = 1_000
# Takes a worker's core some seconds.
MAX_CHARACTERS = 4 * 1024 * 1024
MAX_IDS = 1024 * 1024
_MAX_TOKEN_ID = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Tokens:
    generation: Generation

    async def ids(
        self, http: Request, model: CatalogModel, texts: Sequence[str], add_special: bool
    ) -> list[list[int]]:
        """Tokenize texts. `add_special`: with the tokens that begin the model's prompts. Raises
        InvalidRequest for more than MAX_CHARACTERS together.
        """
        if (characters := sum(map(len, texts))) > MAX_CHARACTERS:
            raise InvalidRequest(
                f"{characters} characters are too many: at most {MAX_CHARACTERS} are tokenised in one request"
            )

        requests = [pb.TokenizeRequest(text=text, add_special=add_special) for text in texts]

        async def tokenized(worker: Worker) -> list[list[int]]:
            return [list((await worker.tokenize(request)).ids) for request in requests]

        return await self._ask(http, model, tokenized, requests)

    async def texts(self, http: Request, model: CatalogModel, rows: Sequence[list[int]]) -> list[str]:
        """Detokenize rows of ids. Raises InvalidRequest for more than MAX_IDS together."""
        if (ids := sum(map(len, rows))) > MAX_IDS:
            raise InvalidRequest(f"{ids} token ids are too many: at most {MAX_IDS} are read in one request")

        requests = [pb.DetokenizeRequest(ids=ids) for ids in rows]

        async def detokenized(worker: Worker) -> list[str]:
            return [(await worker.detokenize(request)).text for request in requests]

        return await self._ask(http, model, detokenized, requests)

    async def _ask(
        self,
        http: Request,
        model: CatalogModel,
        question: Callable[[Worker], Awaitable[Found]],
        asked: Sequence[Message],
    ) -> Found:
        if model.virtual is not None:
            raise CapabilityMissing(
                f"{model.name.short} chooses between models, and token ids belong to one of them"
            )
        async with self.generation.track(http):
            return await self.generation.catalog.fleet.call(workers_of(model), question, asked)


def token_ids(value: Json, path: FieldPath) -> list[int]:
    """A list of token ids. Raises InvalidRequest for any other value."""
    items = value if isinstance(value, list) else [None]
    ids = [item for item in items if type(item) is int and 0 <= item <= _MAX_TOKEN_ID]
    if len(ids) != len(items):
        raise InvalidRequest(f"{path.field}: it must be a list of token ids")
    return ids
