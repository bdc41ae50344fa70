"""A preset: a served model under another name, with its own system message, parameters, template and examples
(Ollama's `create`, `copy` and `/save`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import orjson

from drover.json_value import Json
from drover.names import ModelName
from frontend.models.adapter import Adapter, AdapterFile


@dataclass(frozen=True, slots=True)
class Example:
    """A message that goes before those of every request."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A part of a model, as the progress of `create` lists it."""

    digest: str
    size_bytes: int

    @classmethod
    def of(cls, content: str) -> Layer:
        data = content.encode(errors="replace")
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))


# No slots: cached_property needs a __dict__.
@dataclass(frozen=True)
class Preset:
    """`base`: the served model, with its digest and size at the time. `parent`: the name that it was made
    from, which may be a preset's. An empty text means the base's. `template_uses`: the template's variables,
    as `drover.go_template` finds them. `parameters`: Ollama's PARAMETERs, as they were sent. `requires`: the
    version of Ollama that the Modelfile asks for. `adapter`: the LoRA that workers apply. `renderer`,
    `parser`, `draft` (names of files) and `declared`: what its RENDERER, PARSER, DRAFT and CAPABILITY lines
    say, kept for its copies.
    """

    name: ModelName
    base: ModelName
    base_digest: str
    base_size_bytes: int
    modified_unix_ns: int
    parent: str = ""
    template: str = ""
    template_uses: frozenset[str] = frozenset()
    system: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    licenses: Sequence[str] = ()
    requires: str = ""
    renderer: str = ""
    parser: str = ""
    draft: Sequence[str] = ()
    declared: Sequence[str] = ()
    adapter: Adapter | None = None

    @cached_property
    def written_layers(self) -> Sequence[Layer]:
        """Its layers without the weights."""
        written = [text for text in (self.template, self.system) if text] + [*self.licenses]
        if self.parameters:
            written.append(_go_json(dict(sorted(self.parameters.items()))))
        if self.examples:
            written.append(_go_json([{"role": each.role, "content": each.content} for each in self.examples]))
        of_adapter = self.adapter.files if self.adapter else ()
        return [
            *(Layer(file.digest, file.size_bytes) for file in of_adapter),
            *(Layer.of(text) for text in written),
        ]

    def digest_over(self, base_digest: str) -> str:
        """64 hex digits that depend on content only, not on name or time. A copy without changes has its
        base's.
        """
        if not self.written_layers:
            return base_digest
        layers = (f"sha256:{base_digest}", *(layer.digest for layer in self.written_layers))
        return hashlib.sha256("\n".join(layers).encode()).hexdigest()

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
                "template_uses": sorted(self.template_uses),
                "system": self.system,
                "parameters": dict(self.parameters),
                "examples": [[each.role, each.content] for each in self.examples],
                "licenses": list(self.licenses),
                "requires": self.requires,
                "renderer": self.renderer,
                "parser": self.parser,
                "draft": list(self.draft),
                "declared": list(self.declared),
                "adapter": [
                    [file.name, file.digest, file.size_bytes]
                    for file in (self.adapter.files if self.adapter else ())
                ],
                "adapter_is_operators": bool(self.adapter and self.adapter.is_operators),
            }
        ).decode()

    @classmethod
    def from_document(cls, name: str, document: str) -> Preset:
        """Parse what `to_document` of this or an earlier version made. Raises ValueError, KeyError or
        TypeError.
        """
        stored = orjson.loads(document)
        return cls(
            name=_known_name(name),
            base=_known_name(str(stored["base"])),
            base_digest=stored["base_digest"],
            base_size_bytes=stored["base_size_bytes"],
            modified_unix_ns=stored["modified_unix_ns"],
            parent=stored["parent"],
            template=stored["template"],
            template_uses=frozenset(stored["template_uses"]),
            system=stored["system"],
            parameters=stored["parameters"],
            examples=tuple(Example(role, content) for role, content in stored["examples"]),
            licenses=tuple(stored["licenses"]),
            # Absent in documents of earlier versions.
            requires=stored.get("requires", ""),
            renderer=stored.get("renderer", ""),
            parser=stored.get("parser", ""),
            draft=tuple(stored.get("draft", ())),
            declared=tuple(stored.get("declared", ())),
            adapter=_adapter(stored.get("adapter"), stored.get("adapter_is_operators", False)),
        )


def _adapter(files: list[tuple[str, str, int]] | None, is_operators: bool) -> Adapter | None:
    return Adapter(tuple(AdapterFile(*file) for file in files), is_operators) if files else None


def _known_name(text: str) -> ModelName:
    name = ModelName.parse(text)
    if name is None:
        raise ValueError(f"{text!r} is not a model name")
    return name


def _go_json(value: object) -> str:
    """JSON with a line break at the end, as Go's encoder writes a layer."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE).decode()
