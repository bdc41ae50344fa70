"""Fuzz targets, one per route that reads a body: from bytes to the message for a worker or the store.

The same steps, in the same order, as the routes take; nothing is sent. A target returns, or raises one of
drover.errors' types; TemplateError only for the templates themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from drover.errors import DroverError, InvalidRequest, ModelNotFound
from drover.go_template.template import parse
from drover.json_value import Json
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.api.core import conversion
from frontend.api.core.embedding import EmbeddingsRequest, EmbedRequest, embed_to_proto, embeddings_to_proto
from frontend.api.core.go_json import dumps, loads
from frontend.api.core.keep_alive import load_to_proto
from frontend.api.core.name_resolution import check_not_cloud, check_sources, without_local
from frontend.api.core.options import Options, layered
from frontend.api.core.request import (
    ChatRequest,
    GenerateRequest,
    NamedRequest,
    ShowRequest,
)
from frontend.api.ollama.create import (
    CreateRequest,
    check_messages,
    check_quantize,
    check_source,
    check_unusable,
    copy_of,
    preset_of,
    steps_of,
    template_of,
)
from frontend.api.ollama.embed import nothing_embedded
from frontend.api.ollama.encode import ChatShape, GenerateShape, OllamaEncoder, Shape
from frontend.api.ollama.manage import CopyRequest, read_delete
from frontend.api.ollama.modelfile import modelfile, parameter_lines, parameters_of
from frontend.api.ollama.tokens import DetokenizeRequest, TokenizeRequest
from frontend.api.ollama.transfer import progress, read_pull, read_push
from frontend.models.model import CatalogModel
from frontend.models.preset import Example, Preset
from frontend.routing.served_model import ServedModel
from tests.fuzz.decision_targets import targets as decision_targets
from tests.fuzz.envelope_targets import targets as envelope_targets
from tests.fuzz.openai_targets import targets as openai_targets
from tests.fuzz.scoring_targets import targets as scoring_targets

Target = Callable[[bytes], None]


def _name(text: str) -> ModelName:
    name = ModelName.parse(text)
    if name is None:
        raise InvalidRequest("invalid model name")
    return name


def _served(text: str, can: pb.Capabilities) -> CatalogModel:
    model = pb.Model(
        names=[text],
        digest="ab" * 32,
        size_bytes=1_000,
        context_length=4_096,
        embedding_length=384,
        template="{{ jinja }}",
        licenses=["MIT"],
        capabilities=can,
        defaults=pb.Sampling(top_p=0.5, max_tokens=100, stop=["</s>"]),
    )
    return CatalogModel(_name(text), ServedModel(_name(text), model))


_EVERYTHING = {field.name: True for field in pb.Capabilities.DESCRIPTOR.fields}
_ABLE = _served("able:latest", pb.Capabilities(**_EVERYTHING))
_PLAIN = _served("plain:latest", pb.Capabilities(completion=True))
_PRESET = replace(
    _ABLE,
    name=_name("ns/Pirate:v1"),
    preset=Preset(
        name=_name("ns/Pirate:v1"),
        base=_ABLE.name,
        base_digest="ab" * 32,
        base_size_bytes=1_000,
        modified_unix_ns=1,
        parent="able:latest",
        template="{{ if .System }}{{ .System }}{{ end }}{{ .Prompt }}{{ .Response }}",
        system="Be a pirate.",
        parameters={"temperature": 0.3, "stop": ["A"], "num_predict": 7},
        examples=(Example("user", "q"), Example("assistant", "a")),
        licenses=("L",),
    ),
)
_MODELS = (_ABLE, _PLAIN, _PRESET)


def _for_every_model(work: Callable[[CatalogModel], object]) -> None:
    """What the first model says decides; the others must only not break."""
    outcome: DroverError | None = None
    for model in _MODELS:
        try:
            work(model)
        except DroverError as error:
            outcome = outcome or (error if model is _ABLE else None)
    if outcome is not None:
        raise outcome


def _chat(body: bytes) -> None:
    request = ChatRequest.read(loads(body))
    _infer(request, ChatShape(), not request.messages)


def _generate(body: bytes) -> None:
    request = GenerateRequest.read(loads(body))
    conversion.check_raw(request)
    _infer(request, GenerateShape(request.raw), not request.prompt)


def _infer(request: ChatRequest | GenerateRequest, shape: Shape, is_empty: bool) -> None:
    conversion.check_top_logprobs(request)
    check_sources(request.model)
    name = ModelName.parse(request.model) or without_local(request.model)
    if name is not None:
        check_not_cloud(name)
    OllamaEncoder(request.model, shape, 0).plain("load")

    def work(model: CatalogModel) -> None:
        checked = conversion.CheckedRequest.of(request, model)
        if isinstance(request, GenerateRequest) and request.template:
            asyncio.run(conversion.check_template(request.template))
        if is_empty:
            load_to_proto(request.keep_alive).SerializeToString()
        else:
            checked.to_proto(0).SerializeToString()

    _for_every_model(work)


def _embed(body: bytes) -> None:
    request = EmbedRequest.read(loads(body))
    nothing_embedded(request.model)
    _for_every_model(
        lambda model: embed_to_proto(
            request, Options.read(layered(model.parameters, request.options)), model
        ).SerializeToString()
    )


def _embeddings(body: bytes) -> None:
    request = EmbeddingsRequest.read(loads(body))
    _for_every_model(
        lambda model: embeddings_to_proto(
            request, Options.read(layered(model.parameters, request.options)), model
        ).SerializeToString()
    )


def _show(body: bytes) -> None:
    request = ShowRequest.read(loads(body))
    _name(request.wanted)
    for model in _MODELS:
        parameters = parameters_of(model)
        system = request.system or model.system
        dumps(
            {
                "modelfile": modelfile(model, system, {**parameters, **request.options}),
                "parameters": parameter_lines(parameters),
                "system": system,
            }
        )


def _create(body: bytes) -> None:
    request = CreateRequest.read(loads(body))
    name = _name(request.wanted)
    check_source(request)
    check_unusable(request, "0.33.0")
    _name(request.origin)
    check_quantize(request)
    check_messages(request.messages)
    for model in _MODELS:
        preset = preset_of(request, name, model, *asyncio.run(template_of(request, model)))
        stored = Preset.from_document(preset.name.full, preset.to_document())
        if stored != preset:
            raise AssertionError("a preset is another one when it comes back from the store")
        _use(CatalogModel(name, model.served, stored))
        progress(list(steps_of(preset, model)), stream=True)


def _use(preset: CatalogModel) -> None:
    """What the routes make of a preset that somebody has made."""
    dumps({"modelfile": modelfile(preset, preset.system, parameters_of(preset)), "digest": preset.digest})
    request = ChatRequest(model=preset.name.short)
    try:
        options = Options.read(layered(preset.parameters, {}))
        conversion.chat_to_proto(request, options, preset, 0).SerializeToString()
    except DroverError:
        # Its parameters are read when it is used.
        return


def _copy(body: bytes) -> None:
    request = CopyRequest.read(loads(body))
    source, destination = _name(request.source), _name(request.destination)
    if source.key != _ABLE.name.key:
        raise ModelNotFound(f'model "{request.source}" not found')
    for model in _MODELS:
        copy_of(model, destination).to_document()


def _named(read: Callable[[Json], NamedRequest]) -> Target:
    def target(body: bytes) -> None:
        request = read(loads(body))
        _name(request.wanted)

    return target


def _template(source: bytes) -> None:
    parse(source.decode(errors="replace"))


def _not_used(request: object) -> None:
    """What was read goes to a worker as it is."""


ROUTES: Mapping[str, Target] = {
    "/api/chat": _chat,
    "/api/generate": _generate,
    "/api/embed": _embed,
    "/api/embeddings": _embeddings,
    "/api/show": _show,
    "/api/create": _create,
    "/api/copy": _copy,
    "/api/delete": _named(read_delete),
    "/api/pull": _named(read_pull),
    "/api/push": _named(read_push),
    "/api/tokenize": lambda body: _not_used(TokenizeRequest.read(loads(body))),
    "/api/detokenize": lambda body: _not_used(DetokenizeRequest.read(loads(body))),
    **openai_targets(_for_every_model),
    **decision_targets(_for_every_model),
    **envelope_targets(_for_every_model),
    **scoring_targets(_for_every_model),
}
TEMPLATES = "templates"
TARGETS: Mapping[str, Target] = {**ROUTES, TEMPLATES: _template}
