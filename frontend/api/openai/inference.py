"""POST /v1/chat/completions and /v1/completions."""

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
from frontend.api.openai.convert import (
    set_choice_sampling,
    set_tokens,
    set_tool_choice,
    to_chat_request,
    to_generate_request,
)
from frontend.api.openai.request import (
    MAX_CHOICES,
    MAX_CHOICES_BYTES,
    ChatCompletionRequest,
    CompletionRequest,
    SharedFields,
)
from frontend.api.response import EngineResponse
from frontend.api.wire import CONTENT_TYPE, JSON
from frontend.http.routes import direct_router
from frontend.observability.request_record import record_of


@dataclass(frozen=True, slots=True)
class OpenAIInference:
    generation: Generation

    async def chat(self, http: Request) -> Response:
        request = await read_v1_json(http, self.generation.settings, ChatCompletionRequest.read)
        native = to_chat_request(request)
        conversion.check_top_logprobs(native)
        if not request.model:
            raise InvalidRequest("model is required")
        model = await self.generation.find(http, request.model)
        conversion.check_capabilities(native, model)
        if request.has_audio and not model.capabilities.audio:
            raise CapabilityMissing(f'"{request.model}" does not support audio')
        record = record_of(http.scope)
        extras = request.extras
        encoder = ChatEncoder(
            request.model,
            request.n or 1,
            request.include_usage,
            record.route_fields,
            extras.response_id("chatcmpl"),
            extras.reasoning_style,
        )
        tool_choice = partial(set_tool_choice, body=request)
        if request.debug_render_only:
            extend = _each_choice(request, [tool_choice], record.client)[0]
            built = await self.generation.build_request(http, model, native, extend)
            rendered = await self.generation.render(http, built)
            return Response(encoder.rendered(rendered.text), media_type=JSON)
        choices = [
            await self.generation.build_request(http, model, native, extend)
            for extend in _each_choice(request, [tool_choice], record.client)
        ]
        return await self._respond(http, encoder, choices, request)

    async def complete(self, http: Request) -> Response:
        request = await read_v1_json(http, self.generation.settings, CompletionRequest.read)
        natives = [to_generate_request(request, prompt) for prompt in request.prompts]
        first, each = natives[0], request.n or 1
        if len(natives) * each > MAX_CHOICES:
            raise InvalidRequest(f"prompts times n must be at most {MAX_CHOICES}")
        conversion.check_top_logprobs(first)
        model = await self.generation.find(http, request.model)
        record = record_of(http.scope)
        encoder = CompletionEncoder(
            request.model,
            len(natives) * each,
            each,
            request.include_usage,
            record.route_fields,
            request.extras.response_id("cmpl"),
        )
        is_empty = request.prompts == [""]
        if is_empty and request.keep_alive == 0:
            await self.generation.unload(model)
            return _loaded(encoder, "unload", request.stream)
        if is_empty:
            await self.generation.check(model, first)
            await self.generation.load(http, model, request.keep_alive)
            return _loaded(encoder, "load", request.stream)
        prompts = [partial(set_tokens, prompt=prompt) for prompt in request.prompts]
        if request.debug_render_only:
            extends = _each_choice(request, prompts, record.client)[::each]
            for native, extend in zip(natives, extends, strict=True):
                built = await self.generation.build_request(http, model, native, extend)
                await self.generation.render(http, built)
            return Response(encoder.rendered(), media_type=JSON)
        natives_of_choices = [native for native in natives for _ in range(each)]
        extends = _each_choice(request, prompts, record.client)
        choices = [
            await self.generation.build_request(http, model, native, extend)
            for native, extend in zip(natives_of_choices, extends, strict=True)
        ]
        return await self._respond(http, encoder, choices, request)

    async def _respond(
        self,
        http: Request,
        encoder: ChatEncoder | CompletionEncoder,
        choices: Sequence[BuiltRequest],
        request: SharedFields,
    ) -> Response:
        model, stream = choices[0].model, request.stream
        ignored = [*choices[0].not_honoured, *request.not_honoured(model.capabilities)]
        record_of(http.scope).fields |= request.extras.log_fields
        priority = request.extras.priority
        if priority is not None and not self.generation.in_flight.prioritise(http.scope, priority):
            ignored.append("priority")
        await _count_choices(http, len(choices))
        handles = [self.generation.submit(http, built, stream) for built in choices]
        in_flight = self.generation.in_flight
        if len(handles) == 1:
            return EngineResponse(encoder, handles[0], stream, in_flight, ignored)
        return MultiChoiceResponse(encoder, handles, stream, in_flight, request.n or 1, ignored)


async def _count_choices(http: Request, choices: int) -> None:
    """Each is an answer in flight. Raises RateLimited and InvalidRequest."""
    admission = record_of(http.scope).admission
    if admission is not None:
        await admission.add_streams(choices - 1)


def _each_choice(request: SharedFields, prompts: Sequence[Extend], caller: str) -> Sequence[Extend]:
    """The function that extends each choice's request, for the `n` choices of each prompt."""
    size = ChoicesSize()
    choices = [(prompt, number) for prompt in prompts for number in range(request.n or 1)]

    def extend(prompt: Extend, number: int, message: pb.GenerateRequest) -> None:
        prompt(message)
        set_choice_sampling(message, request, number, caller)
        if len(choices) > 1:
            size.add(message)

    return [partial(extend, prompt, number) for prompt, number in choices]


class ChoicesSize:
    """The size of all choices' requests in bytes; they are in memory at the same time."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, message: pb.GenerateRequest) -> None:
        """Raises BodyTooLarge if the sum exceeds the limit."""
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
    inference = OpenAIInference(generation)
    routes.add_api_route("/v1/chat/completions", inference.chat, methods=["POST"])
    routes.add_api_route("/v1/completions", inference.complete, methods=["POST"])
    return routes
