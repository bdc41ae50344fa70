"""What whoever starts a worker says of its model, over what the model's files say."""

from __future__ import annotations

from dataclasses import dataclass, field

from drover.go_template.template import Template
from drover.v1 import engine_pb2 as pb


@dataclass(frozen=True, slots=True)
class ModelOverrides:
    """`system`: a system message for conversations without one; `parameters`: sampling defaults;
    `go_template`: makes the prompts in place of the model's own template.
    """

    system: str = ""
    parameters: pb.Sampling = field(default_factory=pb.Sampling)
    go_template: Template | None = None

    def describe(self, model: pb.Model, can_parse: bool, adds: bool = False) -> None:
        """`can_parse`: tools and thinking are found in answers to a Go template's prompts, where the model's
        capabilities say so already; with `adds`, also where they do not.
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
        model.template = template.source
        capabilities.insert = template.uses("suffix")
        capabilities.tools = template.uses("tools") and (adds or (can_parse and capabilities.tools))
        capabilities.thinking = template.uses("thinking") and (adds or (can_parse and capabilities.thinking))
        capabilities.vision = False
