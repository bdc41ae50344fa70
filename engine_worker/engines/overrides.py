"""The operator's overrides of a model's description and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from drover.go_template.template import Template
from drover.thinking import on_or_off
from drover.v1 import engine_pb2 as pb


@dataclass(frozen=True, slots=True)
class ModelOverrides:
    """What an operator sets for a model.

    `system` is the system message of conversations without one, `parameters` are sampling defaults, and
    `go_template` replaces the model's own template.
    """

    system: str = ""
    parameters: pb.Sampling = field(default_factory=pb.Sampling)
    go_template: Template | None = None

    def describe(self, model: pb.Model, can_parse: bool, adds: bool = False) -> None:
        """Change the model's description.

        `can_parse`: tools and thinking are parsed in answers to a Go template's prompts, if the model has
        these capabilities; with `adds`, also if it does not.
        """
        if self.system:
            model.system = self.system
        if self.parameters.stop:
            del model.defaults.stop[:]
        model.defaults.MergeFrom(self.parameters)
        if not model.capabilities.completion:
            return
        model.capabilities.go_template = True
        model.capabilities.go_template_parsed = can_parse
        model.capabilities.go_template_adds = adds
        if self.go_template is not None:
            self._describe_template(self.go_template, model, can_parse, adds)

    def _describe_template(self, template: Template, model: pb.Model, can_parse: bool, adds: bool) -> None:
        capabilities = model.capabilities
        model.template, model.template_source = template.source, "go_template"
        model.renderer = ""
        capabilities.insert = template.uses("suffix")
        capabilities.tools = template.uses("tools") and (adds or (can_parse and capabilities.tools))
        capabilities.thinking = template.uses("thinking") and (adds or (can_parse and capabilities.thinking))
        capabilities.vision = False
        model.ClearField("thinking")
        if capabilities.thinking and not template.uses("thinklevel"):
            model.thinking.CopyFrom(on_or_off())
