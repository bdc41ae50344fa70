"""Model names as Ollama writes them: `[host[:port]/][namespace/]model[:tag]`.

Contract: ollama-contract.md, "Model names".
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
        """None where the text is not a valid name. A scheme can stand before a host only."""
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
        """A valid name that resembles a file's name (without its suffix)."""
        model = _NOT_IN_MODEL.sub("-", stem).lstrip(".-")[:80] or "model"
        return cls(DEFAULT_HOST, DEFAULT_NAMESPACE, model, DEFAULT_TAG)

    @property
    def short(self) -> str:
        """As lists show it: default host and namespace dropped, the tag always there."""
        name = f"{self.model}:{self.tag}"
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{name}"
        return name if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{name}"

    @property
    def full(self) -> str:
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """What two names are compared by: letter case does not count."""
        return self.full.casefold()

    def _is_valid(self) -> bool:
        return bool(
            _HOST.fullmatch(self.host)
            and _NAMESPACE.fullmatch(self.namespace)
            and _MODEL.fullmatch(self.model)
            and _TAG.fullmatch(self.tag)
        )
