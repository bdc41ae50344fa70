"""A preset: a served model under another name, with a system message, parameters, template and examples of
its own (Ollama's `create`, `copy` and `/save`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import orjson

from drover.go_template import Template, parse
from drover.json_value import Json
from drover.names import ModelName


@dataclass(frozen=True, slots=True)
class Example:
    """A message that stands before those of every request."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A part of a model, as the lines of `create` name it."""

    digest: str
    size_bytes: int

    @classmethod
    def of(cls, content: str) -> Layer:
        data = content.encode(errors="replace")
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))


# No slots: the template and the layers are made once and kept.
@dataclass(frozen=True)
class Preset:
    """`base`: the served model; `parent`: the name that it was made from, which may be a preset's; empty
    texts are those of the base. `parameters` are Ollama's PARAMETERs, as they were sent.
    """

    name: ModelName
    base: ModelName
    base_digest: str
    base_size_bytes: int
    modified_unix_ns: int
    parent: str = ""
    template: str = ""
    system: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    licenses: Sequence[str] = ()

    @cached_property
    def parsed_template(self) -> Template | None:
        """Raises TemplateError for a template that an older version could read."""
        return parse(self.template) if self.template else None

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """The weights first, then what was written for it."""
        written = [self.template, self.system, *self.licenses]
        if self.parameters:
            written.append(_go_json(dict(sorted(self.parameters.items()))))
        if self.examples:
            written.append(_go_json([{"role": each.role, "content": each.content} for each in self.examples]))
        weights = Layer(f"sha256:{self.base_digest}", self.base_size_bytes)
        return [weights, *(Layer.of(text) for text in written if text)]

    @cached_property
    def digest(self) -> str:
        """64 hex digits: the same for the same content, whatever its name and age."""
        return hashlib.sha256("\n".join(layer.digest for layer in self.layers).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in self.layers)

    def to_document(self) -> str:
        """Everything but the name, as JSON text."""
        return orjson.dumps(
            {
                "base": self.base.full,
                "base_digest": self.base_digest,
                "base_size_bytes": self.base_size_bytes,
                "modified_unix_ns": self.modified_unix_ns,
                "parent": self.parent,
                "template": self.template,
                "system": self.system,
                "parameters": dict(self.parameters),
                "examples": [[each.role, each.content] for each in self.examples],
                "licenses": list(self.licenses),
            }
        ).decode()

    @classmethod
    def from_document(cls, name: str, document: str) -> Preset:
        """Raises ValueError or KeyError for what no version of us has written."""
        stored = orjson.loads(document)
        return cls(
            name=_known_name(name),
            base=_known_name(str(stored["base"])),
            base_digest=stored["base_digest"],
            base_size_bytes=stored["base_size_bytes"],
            modified_unix_ns=stored["modified_unix_ns"],
            parent=stored["parent"],
            template=stored["template"],
            system=stored["system"],
            parameters=stored["parameters"],
            examples=tuple(Example(role, content) for role, content in stored["examples"]),
            licenses=tuple(stored["licenses"]),
        )


def _known_name(text: str) -> ModelName:
    name = ModelName.parse(text)
    if name is None:
        raise ValueError(f"{text!r} is not a model name")
    return name


def _go_json(value: object) -> str:
    """As Go's encoder writes a layer: with a line break at the end."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE).decode()
