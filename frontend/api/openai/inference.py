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
from frontend.api.generation import BuiltRequest, Extend, Generation
from frontend.api.multi_choice import MultiChoiceResponse
from frontend.api.openai.chat_encode import ChatEncoder
from frontend.api.openai.completion_encode import CompletionEncoder
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
from frontend.api.response import EngineResponse
from frontend.api.wire import CONTENT_TYPE, JSON
from frontend.http.routes import direct_router
from frontend.observability.request_record import record_of


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
        encoder = ChatEncoder(
            asked.model, asked.n or 1, asked.include_usage, record_of(http.scope).route_fields
        )
        tool_choice = partial(set_tool_choice, asked=asked)
        if asked.debug_render_only:
            built = await self.generation.build_request(http, model, native, tool_choice)
            rendered = await self.generation.render(http, built)
            return Response(encoder.rendered(rendered.text), media_type=JSON)
        choices = [
            await self.generation.build_request(http, model, native, extend)
            for extend in _each_choice(asked, [tool_choice])
        ]
        return self._respond(http, encoder, choices, asked)

    async def complete(self, http: Request) -> Response:
        asked = await read_v1_json(http, self.generation.settings, CompletionRequest.read)
        natives = [native_completion(asked, prompt) for prompt in asked.prompts]
        first, each = natives[0], asked.n or 1
        if len(natives) * each > MAX_CHOICES:
            raise InvalidRequest(f"prompts times n must be at most {MAX_CHOICES}")
        conversion.check_top_logprobs(first)
        model = await self.generation.find(http, asked.model)
        extra_fields = record_of(http.scope).route_fields
        encoder = CompletionEncoder(asked.model, len(natives) * each, each, asked.include_usage, extra_fields)
        is_empty = asked.prompts == [""]
        if is_empty and asked.keep_alive == 0:
            await self.generation.unload(model)
            return _loaded(encoder, "unload", asked.stream)
        if is_empty:
            await self.generation.check(model, first)
            await self.generation.load(http, model, asked.keep_alive)
            return _loaded(encoder, "load", asked.stream)
        prompts = [partial(set_tokens, prompt=prompt) for prompt in asked.prompts]
        if asked.debug_render_only:
            for native, prompt in zip(natives, prompts, strict=True):
                built = await self.generation.build_request(http, model, native, prompt)
                await self.generation.render(http, built)
            return Response(encoder.rendered(), media_type=JSON)
        natives_of_choices = [native for native in natives for _ in range(each)]
        choices = [
            await self.generation.build_request(http, model, native, extend)
            for native, extend in zip(natives_of_choices, _each_choice(asked, prompts), strict=True)
        ]
        return self._respond(http, encoder, choices, asked)

    def _respond(
        self,
        http: Request,
        encoder: ChatEncoder | CompletionEncoder,
        choices: Sequence[BuiltRequest],
        asked: Sampled,
    ) -> Response:
        model, stream = choices[0].model, asked.stream
        ignored = [*choices[0].not_honoured, *asked.not_honoured(model.capabilities)]
        handles = [self.generation.submit(http, built, stream) for built in choices]
        in_flight = self.generation.in_flight
        if len(handles) == 1:
            return EngineResponse(encoder, handles[0], stream, in_flight, ignored)
        return MultiChoiceResponse(encoder, handles, stream, in_flight, ignored)


def _each_choice(asked: Sampled, prompts: Sequence[Extend]) -> Sequence[Extend]:
    """What is added to each choice's request: `n` choices of each prompt."""
    size = ChoicesSize()
    choices = [(prompt, number) for prompt in prompts for number in range(asked.n or 1)]

    def extend(prompt: Extend, number: int, message: pb.GenerateRequest) -> None:
        prompt(message)
        set_sampled(message, asked, number)
        if len(choices) > 1:
            size.add(message)

    return [partial(extend, prompt, number) for prompt, number in choices]


class ChoicesSize:
    """The bytes of all choices' requests, which exist at the same time."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, message: pb.GenerateRequest) -> None:
        """Raises BodyTooLarge for one that is too much."""
        self._bytes += message.ByteSize()
        if self._bytes > MAX_CHOICES_BYTES:
            raise BodyTooLarge(
                f"all choices of a request together may have {MAX_CHOICES_BYTES} bytes at most"
            )


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
