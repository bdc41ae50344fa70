"""The ways of bodies that OpenAI's dialect reads; see targets.py."""

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
from frontend.api.openai.embeddings import EmbeddingRequest
from frontend.api.openai.request import ChatCompletionRequest, CompletionRequest
from frontend.api.openai.tokens import DetokenizeRequest, TokenizeRequest
from frontend.api.openai.unsupported import model_of
from frontend.models.model import CatalogModel

ForEveryModel = Callable[[Callable[[CatalogModel], object]], None]


def targets(for_every_model: ForEveryModel) -> Mapping[str, Callable[[bytes], None]]:
    def chat(body: bytes) -> None:
        _chat(ChatCompletionRequest.read(loads(body)), for_every_model)

    def complete(body: bytes) -> None:
        _complete(CompletionRequest.read(loads(body)), for_every_model)

    def embed(body: bytes) -> None:
        asked = EmbeddingRequest.read(loads(body))
        native = EmbedRequest(asked.model, asked.texts(), True, asked.dimensions, asked.keep_alive)
        for_every_model(
            lambda model: embed_to_proto(
                native, Options.read(layered(model.parameters, asked.options)), model
            ).SerializeToString()
        )

    def tokenize(body: bytes) -> None:
        asked = TokenizeRequest.read(loads(body))
        if asked.chat is not None:
            _chat(asked.chat, for_every_model)

    def detokenize(body: bytes) -> None:
        DetokenizeRequest.read(loads(body))

    def rerank(body: bytes) -> None:
        model_of(loads(body))

    return {
        "/v1/chat/completions": chat,
        "/v1/completions": complete,
        "/v1/embeddings": embed,
        "/v1/tokenize": tokenize,
        "/v1/detokenize": detokenize,
        "/v1/rerank": rerank,
    }


def _chat(asked: ChatCompletionRequest, for_every_model: ForEveryModel) -> None:
    native = to_chat_request(asked)
    conversion.check_top_logprobs(native)
    ChatEncoder(asked.model, asked.n or 1, asked.include_usage).rendered("x")

    def work(model: CatalogModel) -> None:
        request = conversion.CheckedRequest.of(native, model).to_proto(0)
        set_tool_choice(request, asked)
        set_choice_sampling(request, asked, choice=1)
        asked.not_honoured(model.capabilities)
        request.SerializeToString()

    for_every_model(work)


def _complete(asked: CompletionRequest, for_every_model: ForEveryModel) -> None:
    natives = [to_generate_request(asked, prompt) for prompt in asked.prompts]
    conversion.check_top_logprobs(natives[0])
    CompletionEncoder(asked.model, len(natives), 1, asked.include_usage).loaded("load")

    def work(model: CatalogModel) -> None:
        for native, prompt in zip(natives, asked.prompts, strict=True):
            request = conversion.CheckedRequest.of(native, model).to_proto(0)
            set_tokens(request, prompt)
            set_choice_sampling(request, asked, choice=1)
            request.SerializeToString()
        asked.not_honoured(model.capabilities)

    for_every_model(work)
