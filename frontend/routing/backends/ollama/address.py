"""Address of a model on an Ollama server: `ollama:http://host:11434/model:tag#name`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from drover.names import ModelName

OLLAMA = "ollama:"
_DEFAULT_PORT = 11434


@dataclass(frozen=True, slots=True)
class HostedModel:
    """`model`: its name on the host; `name`: its name in this fleet."""

    url: str
    model: ModelName
    name: ModelName

    @classmethod
    def parse(cls, address: str) -> HostedModel:
        """Parse an address. Without `#name` the model keeps its name. Raises ValueError."""
        parts = urlsplit(address.removeprefix(OLLAMA))
        model = ModelName.parse(parts.path.removeprefix("/"))
        name = ModelName.parse(parts.fragment) if parts.fragment else model
        is_host = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.username)
        if not is_host or model is None or name is None:
            raise ValueError(
                f"{address!r} is no model of an Ollama server, like ollama:http://gpu:11434/llama3.2:3b, or "
                "with another name for it here: ollama:http://gpu:11434/llama3.2:3b#big"
            )
        default = 443 if parts.scheme == "https" else _DEFAULT_PORT
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
        return cls(f"{parts.scheme}://{host}:{parts.port or default}", model, name)


def check_hosted(address: str) -> str:
    HostedModel.parse(address)
    return address
