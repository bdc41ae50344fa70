"""Converts a GenerateRequest to the body of `/api/chat` or `/api/generate`.

Source: docs/reference/ollama-contract.md, "Fields of generate and chat".
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import orjson

from drover.call_arguments import call_arguments
from drover.errors import CapabilityMissing
from drover.json_value import Json
from drover.thinking import needs_template
from drover.v1 import engine_pb2 as pb

Body = dict[str, Json]
# Fields of Sampling with the same name in Ollama's options.
_SAME_NAMES = frozenset(
    {
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "repeat_penalty",
        "repeat_last_n",
        "presence_penalty",
        "frequency_penalty",
        "seed",
    }
)


def route_and_body(request: pb.GenerateRequest, model: str) -> tuple[str, Body]:
    """Path and body. `model`: its name on the host. Raises CapabilityMissing for what the protocol lacks."""
    match request.WhichOneof("input"):
        case "chat":
            return "/api/chat", _common(request, model) | _chat(request)
        case "prompt":
            return "/api/generate", _common(request, model) | _prompt(request)
        case "raw":
            return "/api/generate", _common(request, model) | {"prompt": request.raw, "raw": True}
        case _:
            raise CapabilityMissing("an Ollama host takes no token ids as a prompt")


def not_honoured(request: pb.GenerateRequest) -> Sequence[str]:
    """Names of fields that the request sets and the protocol lacks."""
    sampling, messages = request.sampling, request.chat.messages
    is_new_turn = bool(messages) and messages[-1].role == "assistant" and not request.chat.continue_last
    named = (
        ("logit_bias", bool(sampling.logit_bias)),
        ("ignore_eos", sampling.ignore_eos),
        ("min_tokens", sampling.min_tokens > 0),
        ("stop_token_ids", bool(sampling.stop_token_ids)),
        ("include_stop_str_in_output", sampling.include_stop),
        ("skip_special_tokens", sampling.show_special_tokens),
        ("chat_template_kwargs", needs_template(request)),
        ("add_generation_prompt", request.chat.no_generation_prompt),
        ("continue_final_message", is_new_turn and not messages[-1].tool_calls),
        ("cache_salt", bool(request.cache_salt)),
        ("priority", request.priority != 0),
        ("tool_choice", request.tool_choice.mode in (pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED)),
        ("parallel_tool_calls", request.tool_choice.HasField("parallel")),
        ("tools.format", any(tool.input_grammar for tool in request.chat.tools)),
    )
    return [name for name, is_set in named if is_set]


def go_duration(nanoseconds: int) -> str:
    return f"{nanoseconds}ns" if nanoseconds >= 0 else "-1s"


def _common(request: pb.GenerateRequest, model: str) -> Body:
    body: Body = {"model": model, "stream": True, "options": _options(request)}
    _add_format(request, body)
    match request.think.mode:
        case pb.Think.ON:
            body["think"] = request.think.level or True
        case pb.Think.OFF:
            body["think"] = False
    if request.HasField("top_logprobs"):
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.HasField("keep_alive_ns"):
        body["keep_alive"] = go_duration(request.keep_alive_ns)
    if request.context.HasField("truncate"):
        body["truncate"] = request.context.truncate
    if request.context.HasField("shift"):
        body["shift"] = request.context.shift
    return body


def _options(request: pb.GenerateRequest) -> Body:
    sampling, context = request.sampling, request.context
    options: Body = {
        field.name: _short(value) for field, value in sampling.ListFields() if field.name in _SAME_NAMES
    }
    if sampling.HasField("max_tokens"):
        options["num_predict"] = sampling.max_tokens
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    if context.HasField("num_ctx"):
        options["num_ctx"] = context.num_ctx
    if context.num_keep:
        options["num_keep"] = context.num_keep
    return options


def _short(value: float) -> float:
    """Shortest decimal of a 32-bit float."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _add_format(request: pb.GenerateRequest, body: Body) -> None:
    match request.WhichOneof("constraint"):
        case "any_json":
            body["format"] = "json"
        case "json_schema":
            body["format"] = orjson.loads(request.json_schema)
        case "regex" | "ebnf" | "structural_tag":
            raise CapabilityMissing("an Ollama host takes no regular expression and no grammar")


def _chat(request: pb.GenerateRequest) -> Body:
    body: Body = {"messages": [_message(message) for message in request.chat.messages]}
    if tools := _offered(request):
        body["tools"] = [_tool(tool) for tool in tools]
    return body


def _offered(request: pb.GenerateRequest) -> Sequence[pb.Tool]:
    """The protocol has no tool_choice: tools that must not be called are not sent."""
    choice = request.tool_choice
    if choice.mode == pb.ToolChoice.NONE:
        return []
    if choice.mode == pb.ToolChoice.NAMED:
        return [tool for tool in request.chat.tools if tool.name == choice.name]
    return request.chat.tools


def _tool(tool: pb.Tool) -> Json:
    function: Body = {"name": tool.name, "description": tool.description}
    function["parameters"] = orjson.loads(tool.parameters_json or '{"type":"object","properties":{}}')
    return {"type": "function", "function": function}


def _message(message: pb.Message) -> Json:
    body: Body = {"role": message.role, "content": message.content}
    if message.thinking:
        body["thinking"] = message.thinking
    if message.images:
        body["images"] = _images(message.images)
    if message.tool_calls:
        body["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_name:
        body["tool_name"] = message.tool_name
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    return body


def _call(call: pb.ToolCall) -> Json:
    function: Body = {"name": call.name, "arguments": call_arguments(call.arguments_json)}
    return {"id": call.id, "function": function}


def _prompt(request: pb.GenerateRequest) -> Body:
    prompt = request.prompt
    body: Body = {"prompt": prompt.text}
    if prompt.HasField("system"):
        body["system"] = prompt.system
    if prompt.HasField("suffix"):
        body["suffix"] = prompt.suffix
    if prompt.images:
        body["images"] = _images(prompt.images)
    if prompt.context:
        body["context"] = list(prompt.context)
    return body


def _images(images: Sequence[pb.Media]) -> list[Json]:
    return [base64.b64encode(image.data).decode() for image in images]
