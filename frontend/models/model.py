"""A model as clients see it: a served model, with what a preset changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from drover.errors import NoWorkerReady
from drover.json_value import Json
from drover.names import ModelName
from drover.thinking import on_or_off
from drover.v1 import engine_pb2 as pb
from frontend.models.preset import Example, Layer, Preset
from frontend.models.virtual_definition import VirtualModel
from frontend.routing.served_model import ServedModel

_NOTHING_KNOWN = pb.Model()
_GGUF = "gguf"


@dataclass(frozen=True, slots=True)
class VirtualTargets:
    """A virtual model's sides by their labels, and its judge. `forced`: the label that the name fixes, as in
    `auto:simple`.
    """

    definition: VirtualModel
    sides: Mapping[str, CatalogModel]
    judge: CatalogModel
    forced: str | None = None

    @property
    def served(self) -> Sequence[ServedModel]:
        """The models of sides and judge that workers serve, each once."""
        models = [model.served for model in (*self.sides.values(), self.judge) if model.served is not None]
        return list({model.name.key: model for model in models}.values())


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """`served` is None for a preset whose base no worker has served yet. A virtual model has `virtual`, and
    its `served` combines its sides.
    """

    name: ModelName
    served: ServedModel | None
    preset: Preset | None = None
    virtual: VirtualTargets | None = None

    @property
    def info(self) -> pb.Model:
        """The served model's, without the preset's changes."""
        return _NOTHING_KNOWN if self.served is None else self.served.info

    @property
    def capabilities(self) -> pb.Capabilities:
        """The served model's. With a preset's own template only those that the template uses and whose output
        the engine can parse.
        """
        can = self.info.capabilities
        if not self.own_template:
            return can
        uses = self._template_uses
        limited = pb.Capabilities()
        limited.CopyFrom(can)
        adds, parses = can.go_template_adds, can.go_template_parsed
        limited.tools = "tools" in uses and (adds or (can.tools and parses))
        limited.thinking = "thinking" in uses and (adds or (can.thinking and parses))
        limited.insert = can.go_template and "suffix" in uses
        limited.vision = False
        return limited

    @property
    def thinking(self) -> pb.Thinking | None:
        """The values of `think` that the model tells apart; None where they are not known, as those of a Go
        template with levels, and where the model cannot think.
        """
        if not self.capabilities.thinking:
            return None
        if self.own_template:
            return None if "thinklevel" in self._template_uses else on_or_off()
        return self.info.thinking if self.info.HasField("thinking") else None

    @property
    def template(self) -> str:
        return (self.preset.template if self.preset else "") or self.info.template

    @property
    def own_template(self) -> str:
        """The preset's Go template; empty if the worker's is used. As in Ollama a GGUF's own template with
        tools or thinking goes before a preset's without them.
        """
        if self.preset is None or (self.info.format == _GGUF and self._worker_template_does_more):
            return ""
        return self.preset.template

    @property
    def _template_uses(self) -> frozenset[str]:
        return self.preset.template_uses if self.preset else frozenset()

    @property
    def _worker_template_does_more(self) -> bool:
        can, uses = self.info.capabilities, self._template_uses
        return (can.tools and "tools" not in uses) or (can.thinking and "thinking" not in uses)

    @property
    def system(self) -> str:
        return (self.preset.system if self.preset else "") or self.info.system

    @property
    def parameters(self) -> Mapping[str, Json]:
        """The preset's, as they were sent. The served model's are `info.defaults`."""
        return self.preset.parameters if self.preset else {}

    @property
    def examples(self) -> Sequence[Example]:
        """The preset's, else those of the model's files."""
        own = self.preset.examples if self.preset else ()
        if own or not self.info.messages_json:
            return own
        return [Example(each["role"], each["content"]) for each in orjson.loads(self.info.messages_json)]

    @property
    def licenses(self) -> Sequence[str]:
        return [*self.info.licenses, *(self.preset.licenses if self.preset else ())]

    @property
    def template_source(self) -> str:
        """Where the chat prompt comes from, in Ollama's words; empty where that is not known."""
        return "go_template" if self.own_template else self.info.template_source

    @property
    def renderer(self) -> str:
        """The built-in code that makes the prompt; else what the Modelfile declares, which has no effect."""
        effective = "" if self.own_template else self.info.renderer
        return effective or (self.preset.renderer if self.preset else "")

    @property
    def parser(self) -> str:
        """What finds thinking and tool calls; else what the Modelfile declares, which has no effect."""
        return self.info.parser or (self.preset.parser if self.preset else "")

    @property
    def requires(self) -> str:
        return (self.preset.requires if self.preset else "") or self.info.requires

    @property
    def adapter(self) -> str:
        """The digest of the preset's adapter; empty for none."""
        return self.preset.adapter.digest if self.preset and self.preset.adapter else ""

    @property
    def parent(self) -> str:
        return self.preset.parent if self.preset else ""

    @property
    def layers(self) -> Sequence[Layer]:
        """The weights, then the preset's own."""
        return [Layer(f"sha256:{self._base_digest}", self._base_size_bytes), *self._written_layers]

    @property
    def digest(self) -> str:
        return self.preset.digest_over(self._base_digest) if self.preset else self.info.digest

    @property
    def size_bytes(self) -> int:
        return self._base_size_bytes + sum(layer.size_bytes for layer in self._written_layers)

    @property
    def _written_layers(self) -> Sequence[Layer]:
        return self.preset.written_layers if self.preset else ()

    @property
    def _base_digest(self) -> str:
        """The served model's; while no worker serves it, the one at the time the preset was made."""
        return self.preset.base_digest if self.preset and self.served is None else self.info.digest

    @property
    def _base_size_bytes(self) -> int:
        return self.preset.base_size_bytes if self.preset and self.served is None else self.info.size_bytes

    @property
    def modified_unix_ns(self) -> int:
        return self.preset.modified_unix_ns if self.preset else self.info.modified_unix_ns


def workers_of(model: CatalogModel) -> ServedModel:
    """The model that workers serve for it. Raises NoWorkerReady if none does."""
    if model.served is None:
        made = f" is made from '{model.preset.base.short}', which" if model.preset else ":"
        raise NoWorkerReady(
            f"model '{model.name.short}'{made} no engine worker serves right now, please try again"
        )
    return model.served
