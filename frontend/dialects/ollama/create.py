"""From a `create` request to a preset (ollama-contract.md, "Create, copy, delete and blobs")."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from drover.errors import InvalidRequest
from drover.go_template.aside import parse_aside, thinking_tags_aside
from drover.go_template.errors import TemplateError
from drover.names import ModelName
from frontend.catalog.model import CatalogModel
from frontend.catalog.preset import Example, Preset
from frontend.dialects.ollama.create_checks import licenses_of
from frontend.dialects.ollama.manage_wire import CreateRequest
from frontend.dialects.ollama.progress import Step, status

_NOT_JINJA = (
    " (a Jinja template is taken only where it is the model's own, as show prints it; another one is set "
    "where a worker starts, with --chat-template)"
)


async def written_template(request: CreateRequest, origin: CatalogModel) -> tuple[str, frozenset[str]]:
    """The request's template where it is another than the origin's, and the variables that it mentions. What
    `show` prints is the origin's own, which may be Jinja: it stays there. Raises InvalidRequest for another
    one that cannot be read.
    """
    template = request.template
    if not template or template.strip() == origin.template.strip():
        return "", frozenset()
    try:
        parsed = await parse_aside(template)
    except TemplateError as error:
        hint = _NOT_JINJA if _looks_like_jinja(template) else ""
        raise InvalidRequest(f"template error: {error}{hint}") from error
    # As in Ollama: what stands in no tags could not be found in an answer.
    finds_thinking = await thinking_tags_aside(parsed)
    return template, parsed.variables if finds_thinking else parsed.variables - {"thinking"}


def _looks_like_jinja(template: str) -> bool:
    return "{%" in template


def preset_of(
    request: CreateRequest, name: ModelName, origin: CatalogModel, template: str, uses: frozenset[str]
) -> Preset:
    """The origin's layers with the request's over them. What the served model itself brings stays there.
    `template` and `uses`: as `written_template` gives them.
    """
    inherited = copy_of(origin, name)
    # `show` prints the served model's licences too.
    added = [text for text in licenses_of(request.license) if text not in origin.info.licenses]
    messages = [Example(message.role, message.content) for message in request.messages]
    return replace(
        inherited,
        parent=origin.name.short,
        template=template or inherited.template,
        template_uses=uses if template else inherited.template_uses,
        system=request.system or inherited.system,
        parameters={**inherited.parameters, **request.parameters},
        examples=tuple(messages) or inherited.examples,
        licenses=tuple(dict.fromkeys([*inherited.licenses, *added])),
        requires=request.requires.removeprefix("v") or inherited.requires,
    )


def copy_of(origin: CatalogModel, name: ModelName) -> Preset:
    """The same under another name."""
    now_ns = time.time_ns()
    if origin.preset is not None:
        return replace(origin.preset, name=name, modified_unix_ns=now_ns)
    return Preset(
        name=name,
        base=origin.name,
        base_digest=origin.info.digest,
        base_size_bytes=origin.info.size_bytes,
        modified_unix_ns=now_ns,
    )


def steps_of(preset: Preset, origin: CatalogModel) -> Sequence[Step]:
    """A line for each layer, in upstream's words."""
    there = {layer.digest for layer in origin.layers}
    layers = [
        status(f"{'using existing' if layer.digest in there else 'creating new'} layer {layer.digest}")
        for layer in CatalogModel(preset.name, origin.served, preset).layers
    ]
    return [*layers, status("writing manifest"), status("success")]
