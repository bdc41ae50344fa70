"""The steps that all dialects' generating routes share, in upstream's order (ollama-api.md section 2.11)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import Request

from drover.errors import ModelNotFound
from drover.v1 import engine_pb2 as pb
from frontend.catalog.catalog import Catalog
from frontend.catalog.model import CatalogModel, workers_of
from frontend.dialects.answer import Dialect, EngineAnswer
from frontend.dialects.ollama.sources import find_named
from frontend.dialects.ollama.to_proto import load_to_proto
from frontend.dialects.open_answers import OpenAnswers
from frontend.fleet.base import RequestHandle
from frontend.settings import FrontendSettings
from frontend.telemetry.moves import RecordedMoves
from frontend.telemetry.request_log import record_of


@dataclass(frozen=True, slots=True)
class Generation:
    catalog: Catalog
    settings: FrontendSettings
    answers: OpenAnswers

    @property
    def most_tokens(self) -> int:
        """Of an answer; 0 is no limit."""
        return self.settings.max_output_tokens

    async def find(self, http: Request, text: str) -> CatalogModel:
        """One that workers serve; the request's record then knows it. Raises InvalidRequest for what is no
        name, ModelNotFound with the name as it was sent, NotOffered for ollama.com's models.
        """
        record = record_of(http.scope)
        record.fields["model"] = text
        model = await find_named(self.catalog, text) if text else None
        if model is None:
            raise ModelNotFound(f"model '{text}' not found")
        record.served = workers_of(model).info.names[0]
        return model

    def hold(self, http: Request) -> AbstractAsyncContextManager[None]:
        """Around work for an answer that is not an EngineAnswer."""
        return self.answers.hold(http.scope, http.receive)

    async def load(self, http: Request, model: CatalogModel, keep_alive_ns: int | None) -> None:
        async with self.hold(http):
            await self.catalog.fleet.load(workers_of(model), load_to_proto(keep_alive_ns))

    async def unload(self, model: CatalogModel) -> None:
        await self.catalog.fleet.unload(workers_of(model))

    async def render(
        self, http: Request, model: CatalogModel, request: pb.GenerateRequest
    ) -> pb.RenderResponse:
        async with self.hold(http):
            with self.catalog.fleet.visit(workers_of(model)) as worker:
                return await worker.render(request)

    def answer(
        self,
        http: Request,
        model: CatalogModel,
        request: pb.GenerateRequest,
        dialect: Dialect,
        stream: bool,
        ignored: Sequence[str] = (),
    ) -> EngineAnswer:
        """`ignored`: names of what the request set and nobody honours."""
        return EngineAnswer(
            dialect,
            submit=lambda: self.submit(http, model, request),
            stream=stream,
            answers=self.answers,
            ignored=ignored,
        )

    def submit(self, http: Request, model: CatalogModel, request: pb.GenerateRequest) -> RequestHandle:
        record = record_of(http.scope)
        return self.catalog.fleet.submit(workers_of(model), request, record.ticket, RecordedMoves(record))
