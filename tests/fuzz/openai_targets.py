"""Fuzz targets for OpenAI's dialect; see targets.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from frontend.api.core import conversion
from frontend.api.core.embedding import EmbedRequest, embed_to_proto
from frontend.api.core.go_json import loads
from frontend.api.core.options import Options, layered
from frontend.api.openai.chat_encode import ChatEncoder
from frontend.api.openai.completion_encode import CompletionEncoder
from frontend.api.openai.convert import (
    set_choice_sampling,
    set_tokens,
    set_tool_choice,
    to_chat_request,
    to_generate_request,
)
from frontend.api.openai.embeddings import OpenAIEmbedRequest
from frontend.api.openai.request import ChatCompletionRequest, CompletionRequest
from frontend.api.openai.tokens import OpenAIDetokenizeRequest, OpenAITokenizeRequest
from frontend.models.model import CatalogModel

ForEveryModel = Callable[[Callable[[CatalogModel], object]], None]


def targets(for_every_model: ForEveryModel) -> Mapping[str, Callable[[bytes], None]]:
    def chat(body: bytes) -> None:
        _chat(ChatCompletionRequest.read(loads(body)), for_every_model)

    def complete(body: bytes) -> None:
        _complete(CompletionRequest.read(loads(body)), for_every_model)

    def embed(body: bytes) -> None:
        parsed = OpenAIEmbedRequest.read(loads(body))
        native = EmbedRequest(parsed.model, parsed.texts(), True, parsed.dimensions, parsed.keep_alive)
        for_every_model(
            lambda model: embed_to_proto(
                native, Options.read(layered(model.parameters, parsed.options)), model
            ).SerializeToString()
        )

    def tokenize(body: bytes) -> None:
        parsed = OpenAITokenizeRequest.read(loads(body))
        if parsed.chat is not None:
            _chat(parsed.chat, for_every_model)

    def detokenize(body: bytes) -> None:
        OpenAIDetokenizeRequest.read(loads(body))

    return {
        "/v1/chat/completions": chat,
        "/v1/completions": complete,
        "/v1/embeddings": embed,
        "/v1/tokenize": tokenize,
        "/v1/detokenize": detokenize,
    }


def _chat(parsed: ChatCompletionRequest, for_every_model: ForEveryModel) -> None:
    native = to_chat_request(parsed)
    conversion.check_top_logprobs(native)
    ChatEncoder(parsed.model, parsed.n or 1, parsed.include_usage).rendered("x")

    def work(model: CatalogModel) -> None:
        request = conversion.CheckedRequest.of(native, model).to_proto(0)
        set_tool_choice(request, parsed)
        set_choice_sampling(request, parsed, choice=1, caller="")
        parsed.not_honoured(model.capabilities)
        request.SerializeToString()

    for_every_model(work)


def _complete(parsed: CompletionRequest, for_every_model: ForEveryModel) -> None:
    natives = [to_generate_request(parsed, prompt) for prompt in parsed.prompts]
    conversion.check_top_logprobs(natives[0])
    CompletionEncoder(parsed.model, len(natives), 1, parsed.include_usage).loaded("load")

    def work(model: CatalogModel) -> None:
        for native, prompt in zip(natives, parsed.prompts, strict=True):
            request = conversion.CheckedRequest.of(native, model).to_proto(0)
            set_tokens(request, prompt)
            set_choice_sampling(request, parsed, choice=1, caller="")
            request.SerializeToString()
        parsed.not_honoured(model.capabilities)

    for_every_model(work)
