"""Ollama's model names: `[host[:port]/][namespace/]model[:tag]`.

Source of the rules: docs/reference/ollama-contract.md, "Model names".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_SLASHES_WITH_HOST = 2
_PART = r"[A-Za-z0-9_][A-Za-z0-9_{extra}-]{{0,{rest}}}"
_HOST = re.compile(_PART.format(extra=".:", rest=349))
_NAMESPACE = re.compile(_PART.format(extra="", rest=79))
_MODEL = re.compile(_PART.format(extra=".", rest=79))
_TAG = _MODEL
_NOT_IN_MODEL = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class ModelName:
    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ModelName | None:
        """Parse a name; None if it is invalid. A scheme is allowed in front of a host only."""
        _, scheme, rest = text.partition("://")
        if scheme and rest.count("/") != _SLASHES_WITH_HOST:
            return None
        text = rest if scheme else text
        path, slash, last = text.rpartition("/")
        model, colon, tag = last.partition(":")
        host, _, namespace = path.rpartition("/")
        name = cls(host or DEFAULT_HOST, namespace or DEFAULT_NAMESPACE, model, tag or DEFAULT_TAG)
        empty_part = (slash and not namespace) or (colon and not tag) or (path.count("/") == 1 and not host)
        return name if not empty_part and name._is_valid() else None

    @classmethod
    def from_file_name(cls, stem: str) -> ModelName:
        """Make a valid name that resembles a file's name (without its suffix)."""
        model = _NOT_IN_MODEL.sub("-", stem).lstrip(".-")[:80] or "model"
        return cls(DEFAULT_HOST, DEFAULT_NAMESPACE, model, DEFAULT_TAG)

    @property
    def short(self) -> str:
        """The name as lists show it: without the default host and namespace, always with the tag."""
        name = f"{self.model}:{self.tag}"
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{name}"
        return name if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{name}"

    @property
    def full(self) -> str:
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """Key for comparing names: in any letter case."""
        return self.full.casefold()

    def _is_valid(self) -> bool:
        return bool(
            _HOST.fullmatch(self.host)
            and _NAMESPACE.fullmatch(self.namespace)
            and _MODEL.fullmatch(self.model)
            and _TAG.fullmatch(self.tag)
        )
