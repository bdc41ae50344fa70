"""POST /v1/chat/completions and /v1/completions: the native steps, and what only this dialect has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import BodyTooLarge, CapabilityMissing, InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core import conversion
from frontend.api.core.body import read_v1_json
from frontend.api.core.options import Options, layered
from frontend.api.core.request import GenerateRequest
from frontend.api.generation import Generation
from frontend.api.multi_choice import ChoicesAnswer, OneChoice
from frontend.api.openai.chat_encode import ChatEncoder
from frontend.api.openai.completion_encode import CompletionEncoder
from frontend.api.openai.dialect import OpenAIDialect
from frontend.api.openai.to_native import (
    native_chat,
    native_completion,
    set_sampled,
    set_tokens,
    set_tool_choice,
)
from frontend.api.openai.wire import (
    MAX_CHOICES,
    MAX_CHOICES_BYTES,
    ChatCompletionRequest,
    CompletionRequest,
    Sampled,
)
from frontend.api.wire import CONTENT_TYPE, JSON
from frontend.http.routes import direct_router
from frontend.middleware.request_log import record_of
from frontend.models.model import CatalogModel
from frontend.smart_router.sides import Convert


@dataclass(frozen=True, slots=True)
class Inference:
    generation: Generation

    async def chat(self, http: Request) -> Response:
        asked = await read_v1_json(http, self.generation.settings, ChatCompletionRequest.read)
        native = native_chat(asked)
        conversion.check_top_logprobs(native)
        if not asked.model:
            raise InvalidRequest("model is required")
        model = await self.generation.find(http, asked.model)
        conversion.check_capabilities(native, model)
        if asked.has_audio and not model.capabilities.audio:
            raise CapabilityMissing(f'"{asked.model}" does not support audio')
        options = Options.read(layered(model.parameters, native.options))

        def converted(side: CatalogModel) -> pb.GenerateRequest:
            conversion.check_capabilities(native, side)
            own = Options.read(layered(side.parameters, native.options))
            request = conversion.chat_to_proto(native, own, side, self.generation.most_tokens)
            set_tool_choice(request, asked)
            return request

        route = conversion.route_of(native, model)
        beside = record_of(http.scope).route_members
        encoder = ChatEncoder(asked.model, asked.n or 1, asked.include_usage, beside)
        if asked.debug_render_only:
            rendered = await self.generation.render(http, model, converted, route)
            return Response(encoder.rendered(rendered.text), media_type=JSON)
        return await self._answer(http, model, [converted], asked, OpenAIDialect(encoder), options, route)

    async def complete(self, http: Request) -> Response:
        asked = await read_v1_json(http, self.generation.settings, CompletionRequest.read)
        natives = [native_completion(asked, prompt) for prompt in asked.prompts]
        first, each = natives[0], asked.n or 1
        if len(natives) * each > MAX_CHOICES:
            raise InvalidRequest(f"prompts times n must be at most {MAX_CHOICES}")
        conversion.check_top_logprobs(first)
        model = await self.generation.find(http, asked.model)
        beside = record_of(http.scope).route_members
        encoder = CompletionEncoder(asked.model, len(natives) * each, each, asked.include_usage, beside)
        is_empty = asked.prompts == [""]
        if is_empty and asked.keep_alive == 0:
            await self.generation.unload(model)
            return _loaded(encoder, "unload", asked.stream)
        conversion.check_capabilities(first, model)
        options = Options.read(layered(model.parameters, first.options))
        route = conversion.route_of(first, model)
        if is_empty:
            await self.generation.load(http, model, asked.keep_alive)
            return _loaded(encoder, "load", asked.stream)
        conversions = [
            partial(self._completion, native, prompt)
            for native, prompt in zip(natives, asked.prompts, strict=True)
        ]
        if asked.debug_render_only:
            for convert in conversions:
                await self.generation.render(http, model, convert, route)
            return Response(encoder.rendered(), media_type=JSON)
        return await self._answer(http, model, conversions, asked, OpenAIDialect(encoder), options, route)

    def _completion(
        self, native: GenerateRequest, prompt: str | list[int], model: CatalogModel
    ) -> pb.GenerateRequest:
        conversion.check_capabilities(native, model)
        options = Options.read(layered(model.parameters, native.options))
        request = conversion.generate_to_proto(native, options, model, self.generation.most_tokens)
        set_tokens(request, prompt)
        return request

    async def _answer(
        self,
        http: Request,
        model: CatalogModel,
        conversions: Sequence[Convert],
        asked: Sampled,
        dialect: OpenAIDialect,
        options: Options,
        route: str,
    ) -> Response:
        """`n` choices of each request."""
        choices = [
            partial(_choice, convert, asked, number)
            for convert in conversions
            for number in range(asked.n or 1)
        ]
        ignored = [*options.not_honoured(model.info.context_length), *asked.not_honoured(model.capabilities)]
        if len(choices) == 1:
            return await self.generation.answer(
                http, model, choices[0], OneChoice(dialect), asked.stream, ignored, route
            )
        together = Together()
        return ChoicesAnswer(
            dialect,
            [
                await self.generation.prepared(
                    http, model, partial(together.made, choice), asked.stream, route
                )
                for choice in choices
            ],
            stream=asked.stream,
            answers=self.generation.answers,
            ignored=ignored,
        )


class Together:
    """The choices of one request: each is a request of its own, and all are there at the same time."""

    def __init__(self) -> None:
        self._bytes = 0

    def made(self, convert: Convert, model: CatalogModel) -> pb.GenerateRequest:
        """Raises BodyTooLarge for one too many, beside what `convert` raises."""
        request = convert(model)
        self._bytes += request.ByteSize()
        if self._bytes > MAX_CHOICES_BYTES:
            raise BodyTooLarge(
                f"all choices of a request together may have {MAX_CHOICES_BYTES} bytes at most"
            )
        return request


def _choice(convert: Convert, asked: Sampled, number: int, model: CatalogModel) -> pb.GenerateRequest:
    request = convert(model)
    set_sampled(request, asked, number)
    return request


def _loaded(encoder: CompletionEncoder, reason: str, stream: bool) -> Response:
    if stream:
        return Response(encoder.loaded_lines(reason), headers={"content-type": CONTENT_TYPE.decode()})
    return Response(encoder.loaded(reason), media_type=JSON)


def router(generation: Generation) -> APIRouter:
    routes = direct_router()
    inference = Inference(generation)
    routes.add_api_route("/v1/chat/completions", inference.chat, methods=["POST"])
    routes.add_api_route("/v1/completions", inference.complete, methods=["POST"])
    return routes
