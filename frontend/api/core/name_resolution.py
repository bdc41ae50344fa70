"""Finds the model of a name as clients send it, with the suffixes of its source: `:local` for this server,
`:cloud` and tags that end with `-cloud` for ollama.com, to which no request is forwarded
(ollama-contract.md, "Errors" and "Model names").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drover.errors import InvalidRequest, ModelNotFound, NotOffered
from drover.names import ModelName
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel
from frontend.routing.fleet import CapabilityCheck, can_generate

_LOCAL = ":local"
_CLOUD_DISABLED = "ollama cloud is disabled: "


async def find_named(
    catalog: Catalog,
    text: str,
    capable: CapabilityCheck = can_generate,
    wanted: str = "remote model is unavailable",
    fresh: bool = False,
) -> CatalogModel | None:
    """Find the model of a name. Raises InvalidRequest for an invalid name, and NotOffered for a model of
    ollama.com that is not served here. `wanted`: the end of that error's message.
    """
    text = text.strip()
    check_sources(text)
    names = names_of(text)
    if not names:
        raise InvalidRequest("invalid model name")
    model = await catalog.find_first(names, capable, fresh)
    name = ModelName.parse(text)
    if model is None and name is not None:
        check_not_cloud(name, wanted)
    if model is not None and model.virtual is not None and name is None:
        # `auto:7b:local`: without `:local` it is a virtual model with a tag of its own.
        forced = model.virtual.definition.label_of("local")
        return replace(model, virtual=replace(model.virtual, forced=forced))
    return model


async def find_listed(catalog: Catalog, text: str) -> CatalogModel:
    """Find the model of a name. Raises InvalidRequest, NotOffered, and ModelNotFound with the short name."""
    wanted = "remote model details are unavailable"
    model = await find_named(catalog, text, wanted=wanted, fresh=True)
    if model is not None:
        return model
    missing = without_local(text) or ModelName.parse(text.strip())
    assert missing is not None, "one of them was looked for"
    raise ModelNotFound(f"model '{missing.short}' not found")


def names_of(text: str) -> Sequence[ModelName]:
    """The names that a text can mean: the text itself, and the text without `:local`."""
    return [name for name in (ModelName.parse(text), without_local(text)) if name is not None]


def check_sources(text: str) -> None:
    """Raises InvalidRequest for a name with both `:local` and `:cloud`."""
    first, _, rest = text.partition(":")
    sources = rest.lower().split(":") if first else []
    if "local" in sources and any(_is_cloud(source) for source in sources):
        raise InvalidRequest(f'use either :local or :cloud, not both: "{text}"')


def without_local(text: str) -> ModelName | None:
    """The name without `:local`; None where it does not end with it."""
    text = text.strip()
    if not text.lower().endswith(_LOCAL):
        return None
    return ModelName.parse(text[: -len(_LOCAL)])


def check_not_cloud(name: ModelName, wanted: str = "remote model is unavailable") -> None:
    """Raises NotOffered for the name of a model of ollama.com. `wanted`: the end of the message."""
    if _is_cloud(name.tag.lower()):
        raise NotOffered(f"{_CLOUD_DISABLED}{wanted}")


def _is_cloud(tag: str) -> bool:
    return tag == "cloud" or tag.endswith("-cloud")
