"""OpenAI's requests to neutral ones, as Ollama converts them.

Contract: ollama-contract.md, "OpenAI: chat completions" and "OpenAI: completions".
"""

from __future__ import annotations

from collections.abc import Mapping

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json
from frontend.api.core.request import ChatRequest, GenerateRequest
from frontend.api.core.thinking import Think, effort_of
from frontend.api.core.typed_fields import FieldPath, text
from frontend.api.openai.request import ChatCompletionRequest, CompletionRequest, SharedFields

# Ollama sets these if a request does not, whatever the model's own defaults are.
_FORCED: Mapping[str, Json] = {"temperature": 1.0, "top_p": 1.0}
_LEVELS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
    "xhigh": "max",
    "ultra": "max",
}


def to_chat_request(request: ChatCompletionRequest) -> ChatRequest:
    """The neutral chat request. Raises InvalidRequest."""
    request.extras.check_messages(request.messages)
    stop = [item for item in _stops(request.stop) if isinstance(item, str)]
    max_tokens = (
        request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    )
    return ChatRequest(
        model=request.model,
        stream=request.stream,
        format=request.extras.format,
        options=_options(request, stop, max_tokens, request.top_p),
        keep_alive=request.keep_alive,
        think=_think(request) or request.extras.think(),
        think_optional=_think(request) is None,
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
        debug_render_only=request.debug_render_only,
        messages=request.messages,
        tools=request.tools if request.tool_choice is None else request.tool_choice.offered(request.tools),
    )


def to_generate_request(request: CompletionRequest, prompt: str | list[int]) -> GenerateRequest:
    """The neutral request of one prompt. `set_tokens` adds token ids later. Raises InvalidRequest."""
    stop = []
    for item in _stops(request.stop):
        if not isinstance(item, str):
            raise InvalidRequest("invalid type for 'stop' field: every item must be a string")
        stop.append(item)
    return GenerateRequest(
        model=request.model,
        stream=request.stream,
        options=_options(request, stop, request.max_tokens, request.top_p or None),
        format=request.extras.format,
        keep_alive=request.keep_alive,
        think=_think_of_prompt(request),
        prompt=prompt if isinstance(prompt, str) else "",
        suffix=request.suffix,
        raw=not isinstance(prompt, str),
        logprobs=request.logprobs is not None,
        top_logprobs=request.logprobs or 0,
    )


def set_tokens(message: pb.GenerateRequest, prompt: str | list[int]) -> None:
    """Make token ids the whole prompt, without a template."""
    if not isinstance(prompt, str):
        message.tokens.ids.extend(prompt)


def set_choice_sampling(message: pb.GenerateRequest, body: SharedFields, choice: int, caller: str) -> None:
    """Add what the neutral request lacks. Each choice has a seed of its own, or all would be equal.
    `caller`: the client's name in the fair queue.
    """
    body.extras.set_in(message, caller, body.prompt_cache_key)
    for token, bias in body.logit_bias.items():
        message.sampling.logit_bias[token] = bias
    if choice and message.sampling.seed >= 0:
        message.sampling.seed = (message.sampling.seed + choice) % 2**63


def set_tool_choice(message: pb.GenerateRequest, body: ChatCompletionRequest) -> None:
    """Add the tool choice. Raises InvalidRequest for one that the request's tools do not satisfy."""
    if body.tool_choice is not None:
        body.tool_choice.check(body.tools)
        message.tool_choice.mode = body.tool_choice.mode
        message.tool_choice.name = body.tool_choice.name
    if body.parallel_tool_calls is not None:
        message.tool_choice.parallel = body.parallel_tool_calls


def _options(
    request: SharedFields, stop: list[str], max_tokens: int | None, top_p: float | None
) -> dict[str, Json]:
    """The neutral options: OpenAI's fields over `options`, an extension, over the forced ones."""
    fields: dict[str, Json] = {
        "temperature": request.temperature,
        "top_p": top_p,
        "num_predict": max_tokens,
        "seed": request.seed,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "num_ctx": request.num_ctx,
        "stop": [*stop] if request.stop is not None else None,
        **request.extras.options(request.options),
    }
    sent = {name: value for name, value in request.options.items() if value is not None}
    return {**_FORCED, **sent, **{name: value for name, value in fields.items() if value is not None}}


def _stops(stop: Json) -> list[Json]:
    """The stop texts. Raises InvalidRequest for another type."""
    match stop:
        case None:
            return []
        case list():
            return stop
        case str():
            return [stop]
        case _:
            raise InvalidRequest("invalid type for 'stop' field: a string, or a list of strings")


def _think(request: ChatCompletionRequest) -> Think | None:
    """The thinking that is asked for; `reasoning.effort` takes precedence over `reasoning_effort`."""
    if effort := (request.reasoning or {}).get("effort"):
        return thinking_of(effort, "reasoning.effort")
    return thinking_of(request.reasoning_effort, "reasoning_effort")


def _think_of_prompt(request: CompletionRequest) -> Think | None:
    """A model that can think does so unless it is switched off."""
    think = request.extras.think()
    return None if think is None or think.enabled else think


def thinking_of(effort: Json, field: str) -> Think | None:
    """The thinking that an effort in this field asks for. Raises InvalidRequest for one that is no text."""
    if effort is None or effort == "":
        return None
    return effort_of(text(effort, FieldPath("Reasoning", "effort")), _LEVELS, field)
