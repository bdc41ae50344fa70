"""From the neutral request of all dialects to the engine's GenerateRequest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from drover.errors import CapabilityMissing, InvalidOption, InvalidRequest
from drover.go_template.errors import TemplateError
from drover.go_template.parse_async import parse_async
from drover.ollama_options import NUM_KEEP, UINT32_MAX
from drover.v1 import engine_pb2 as pb
from frontend.api.core.call_order import in_call_order
from frontend.api.core.go_json import Json, dump_text
from frontend.api.core.images import unseen, without_unseen
from frontend.api.core.keep_alive import set_keep_alive
from frontend.api.core.options import Options, layered
from frontend.api.core.request import ChatRequest, GenerateRequest, InferenceRequest, Message
from frontend.api.core.thinking import resolved, without_effect
from frontend.models.model import CatalogModel

_MAX_TOP_LOGPROBS = 20
# llama-server's error as Ollama passes it on, an object in a string: recorded as "chat image on text model".
_NO_IMAGES = (
    '{"error":{"code":400,"message":"Multimodal data provided, but model does not support multimodal '
    'requests.","type":"invalid_request_error"}}'
)


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request that the model can answer. `request`: as this model gets it; `route`: the side of a virtual
    model that `options.route` asks for, empty for none; `not_honoured`: names of what has no effect here.
    """

    request: ChatRequest | GenerateRequest
    model: CatalogModel
    options: Options
    route: str
    not_honoured: list[str]

    @classmethod
    def of(cls, request: ChatRequest | GenerateRequest, model: CatalogModel) -> CheckedRequest:
        """Raises CapabilityMissing and InvalidOption, in this order."""
        fitted = _fitted(request, model) if isinstance(request, ChatRequest) else request
        check_capabilities(fitted, model)
        options = Options.read(layered(model.parameters, fitted.options))
        left_out = unseen(request, model) if isinstance(request, ChatRequest) else []
        # The target of a virtual model may know the name.
        unknown = [] if model.virtual is not None else without_effect(fitted.think, model.thinking)
        not_honoured = [*left_out, *unknown, *options.not_honoured(model.info.context_length)]
        return cls(fitted, model, options, route_of(fitted, model), not_honoured)

    def to_proto(self, max_output_tokens: int) -> pb.GenerateRequest:
        """`max_output_tokens`: 0 for no limit. Raises InvalidRequest, InvalidOption, CapabilityMissing."""
        if isinstance(self.request, ChatRequest):
            return chat_to_proto(self.request, self.options, self.model, max_output_tokens)
        return generate_to_proto(self.request, self.options, self.model, max_output_tokens)


def _fitted(chat: ChatRequest, model: CatalogModel) -> ChatRequest:
    """The chat without what the model cannot do and the client does not insist on."""
    chat = without_unseen(chat, model)
    if chat.think is None or not chat.think_optional or model.capabilities.thinking:
        return chat
    return replace(chat, think=None)


def check_top_logprobs(request: InferenceRequest) -> None:
    if not 0 <= request.top_logprobs <= _MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be between 0 and {_MAX_TOP_LOGPROBS}")


def check_raw(request: GenerateRequest) -> None:
    if request.raw and (request.template or request.system or request.context):
        raise InvalidRequest("raw mode does not support template, system, or context")


def route_of(request: InferenceRequest, model: CatalogModel) -> str:
    """The side of a virtual model that `options.route` asks for; "" for none and for other models."""
    if model.virtual is None:
        return ""
    route = request.options.get("route")
    if route is not None and not isinstance(route, str):
        raise InvalidOption('option "route" must be of type string')
    return route or ""


def check_capabilities(request: InferenceRequest, model: CatalogModel) -> None:
    """Raises CapabilityMissing in upstream's order: thinking, completion, then all others in one error
    (ollama-contract.md, "Errors").
    """
    can = model.capabilities
    if request.think is not None and request.think.insists and not can.thinking:
        raise CapabilityMissing(f'"{request.model}" does not support thinking')
    verb = "chat" if isinstance(request, ChatRequest) else "generate"
    if not can.completion:
        raise CapabilityMissing(f'"{request.model}" does not support {verb}')
    missing = []
    if isinstance(request, ChatRequest) and request.tools and not can.tools:
        missing.append("tools")
    if isinstance(request, GenerateRequest) and request.suffix and not can.insert:
        missing.append("insert")
    if missing:
        raise CapabilityMissing("\n".join(f"{model.name.full} does not support {what}" for what in missing))


def chat_to_proto(
    request: ChatRequest, options: Options, model: CatalogModel, max_output_tokens: int
) -> pb.GenerateRequest:
    result = _common(request, options, model, max_output_tokens)
    _check_images(model, any(message.images for message in request.messages))
    result.chat.messages.extend(_before(request.messages, model))
    result.chat.messages.extend(_message(message) for message in in_call_order(request.messages))
    result.chat.tools.extend(
        pb.Tool(
            name=tool.name,
            description=tool.description,
            parameters_json=tool.parameters_json,
            unlisted=tool.unlisted,
            input_grammar=tool.input_grammar,
            input_syntax=tool.input_syntax,
        )
        for tool in request.tools
    )
    result.chat.continue_last = _continues_last(request.messages)
    check_takes_template(result, model)
    return result


def generate_to_proto(
    request: GenerateRequest, options: Options, model: CatalogModel, max_output_tokens: int
) -> pb.GenerateRequest:
    result = _common(request, options, model, max_output_tokens)
    _check_images(model, bool(request.images))
    if request.raw:
        result.raw = request.prompt
        result.ClearField("template")
        return result
    if request.template:
        result.template = request.template
    check_takes_template(result, model)
    system = request.system or model.system
    if model.examples and not (request.context or request.suffix):
        # A prompt cannot hold examples: it becomes the last user message of a chat.
        result.chat.messages.extend(_own(system, model))
        user = pb.Message(role="user", content=request.prompt, images=_media(request.images))
        result.chat.messages.append(user)
        return result
    result.prompt.text = request.prompt
    result.prompt.context.extend(_token_ids(request.context))
    result.prompt.images.extend(_media(request.images))
    if system:
        result.prompt.system = system
    if request.suffix:
        result.prompt.suffix = request.suffix
    return result


async def check_template(template: str) -> None:
    """Raises InvalidOption with Go's text (ollama-contract.md, "Fields of generate and chat")."""
    try:
        await parse_async(template)
    except TemplateError as error:
        raise InvalidOption(str(error)) from error


def check_takes_template(request: pb.GenerateRequest | pb.ScoreRequest, model: CatalogModel) -> None:
    if request.template and not model.info.capabilities.go_template:
        raise CapabilityMissing(f'"{model.name.short}" does not support a template other than its own')


def _before(messages: Sequence[Message], model: CatalogModel) -> Sequence[pb.Message]:
    """The preset's messages before a conversation: its system message, unless that has one, and examples."""
    return _own("" if messages and messages[0].role == "system" else model.system, model)


def _own(system: str, model: CatalogModel) -> Sequence[pb.Message]:
    first = [pb.Message(role="system", content=system)] if system else []
    return [*first, *(pb.Message(role=each.role, content=each.content) for each in model.examples)]


def _continues_last(messages: list[Message]) -> bool:
    """Whether the model continues the last message: Ollama's templates leave an assistant's turn open."""
    last = messages[-1] if messages else Message()
    return last.role == "assistant" and not last.tool_calls


def _common(
    request: InferenceRequest, options: Options, model: CatalogModel, max_output_tokens: int
) -> pb.GenerateRequest:
    result = pb.GenerateRequest(
        model=model.info.names[0],
        sampling=options.sampling_for(model.info.defaults, model.info.context_length, max_output_tokens),
        context=_context(options, request),
        think=resolved(request.think, model.thinking, model.capabilities.thinking),
        template=model.own_template,
        adapter=model.adapter,
    )
    set_keep_alive(result, request.keep_alive)
    if request.logprobs:
        result.top_logprobs = request.top_logprobs
    _constrain(result, request.format, model)
    return result


def _context(options: Options, request: InferenceRequest) -> pb.ContextBudget:
    budget = pb.ContextBudget(
        truncate=request.truncate,
        shift=request.shift,
        num_keep=_num_keep(options.num_keep),
    )
    if options.window is not None:
        budget.num_ctx = options.window
    return budget


def _num_keep(wanted: int | None) -> int:
    """As in Ollama, a negative number keeps as much of the prompt's beginning as fits."""
    if wanted is None:
        return NUM_KEEP
    return wanted if wanted >= 0 else UINT32_MAX


def _constrain(result: pb.GenerateRequest, wanted: Json, model: CatalogModel) -> None:
    if wanted is None or wanted == "":
        return
    if wanted != "json" and not isinstance(wanted, dict):
        raw = dump_text(dump_text(wanted))
        raise InvalidOption(f'invalid format: {raw}; expected "json" or a valid JSON Schema object')
    if not model.info.capabilities.json_constraint:
        raise CapabilityMissing(f'"{model.info.names[0]}" does not support format')
    if isinstance(wanted, dict):
        result.json_schema = dump_text(wanted)
    else:
        result.any_json = True


def _check_images(model: CatalogModel, has_images: bool) -> None:
    if has_images and not model.capabilities.vision:
        raise CapabilityMissing(_NO_IMAGES)


def _media(images: Sequence[bytes]) -> Sequence[pb.Media]:
    return [pb.Media(data=image) for image in images]


def _token_ids(ids: list[int]) -> list[int]:
    for token in ids:
        if not 0 <= token <= UINT32_MAX:
            raise InvalidRequest(f"context: {token} is not a token id")
    return ids


def _message(message: Message) -> pb.Message:
    return pb.Message(
        role=message.role,
        content=message.content,
        thinking=message.thinking,
        images=_media(message.images),
        tool_calls=[
            pb.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)
            for call in message.tool_calls
        ],
        tool_name=message.tool_name,
        tool_call_id=message.tool_call_id,
    )
