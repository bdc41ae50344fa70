"""What Modelfiles declare and this server keeps without acting on it: RENDERER, PARSER, DRAFT, CAPABILITY."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.core.typed_fields import FieldPath
from frontend.api.ollama.models import capabilities
from frontend.models.blobs import Blobs
from frontend.models.model import CatalogModel
from frontend.models.preset import Preset


def read_capabilities(value: Json, path: FieldPath) -> list[str]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]string")
    return [capability_of(item, path) for item in value if item is not None]


def capability_of(value: Json, path: FieldPath) -> str:
    if not isinstance(value, str):
        raise path.wrong_kind(value, "string")
    return value


async def check_draft(files: Mapping[str, str] | None, blobs: Blobs) -> None:
    """Raises InvalidRequest for a draft that was not uploaded."""
    for name, digest in (files or {}).items():
        wanted = digest.replace("-", ":", 1).lower()
        if not await blobs.has(wanted):
            raise InvalidRequest(
                f"draft_files: {name}: there is no blob {wanted}, upload it to /api/blobs first"
            )


def with_declarations(
    preset: Preset, renderer: str, parser: str, draft: Sequence[str], declared: Sequence[str]
) -> Preset:
    """What is empty is inherited; capabilities are added, as Modelfiles declare one at a time."""
    return replace(
        preset,
        renderer=renderer or preset.renderer,
        parser=parser or preset.parser,
        draft=tuple(draft) or preset.draft,
        declared=tuple(dict.fromkeys([*preset.declared, *(word for word in declared if word)])),
    )


def without_effect(model: CatalogModel) -> list[str]:
    """Names of the declarations that are not what the model does."""
    preset = model.preset
    if preset is None:
        return []
    can = capabilities(model)
    named = (
        ("renderer", bool(preset.renderer) and preset.renderer != model.info.renderer),
        ("parser", bool(preset.parser) and preset.parser != model.info.parser),
        ("draft_files", bool(preset.draft)),
    )
    lacking = [f"capabilities.{word}" for word in preset.declared if word not in can]
    return [*(name for name, is_set in named if is_set), *lacking]
