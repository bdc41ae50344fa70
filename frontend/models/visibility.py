"""Which models a key may use. To a client any other model is one that is not there."""

from __future__ import annotations

from collections.abc import Sequence

from frontend.access.current_key import current_key
from frontend.access.key import Key
from frontend.models.model import CatalogModel


def is_visible(model: CatalogModel) -> bool:
    """Whether the key of the current request may use the model."""
    key = current_key()
    return key is None or not key.models or _is_granted(key, model)


def _is_granted(key: Key, model: CatalogModel) -> bool:
    """A name without wildcards grants a model whatever it is made of. With wildcards, a preset, an adapter or
    a virtual model takes the models that answer for it too: anybody who makes presets could else choose a
    name that fits.
    """
    names = _names(model)
    if any(key.names(name) for name in names):
        return True
    return any(map(key.may_use, names)) and all(_is_granted(key, part) for part in _parts(model))


def _names(model: CatalogModel) -> Sequence[str]:
    """A served model's are all that its workers give it."""
    if model.preset is None and model.virtual is None:
        return [model.name.short, *model.info.names]
    return [model.name.short]


def _parts(model: CatalogModel) -> Sequence[CatalogModel]:
    if model.virtual is not None:
        return list(model.virtual.sides.values())
    if model.preset is None:
        return []
    served = model.served
    return [CatalogModel(model.preset.base if served is None else served.name, served)]
