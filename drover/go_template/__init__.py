"""Go's text/template as Ollama's Modelfiles carry it, bounded in time and memory."""

from drover.go_template.aside import parse_aside
from drover.go_template.errors import TemplateError
from drover.go_template.template import Template, parse
from drover.go_template.thinking import thinking_tags

__all__ = ["Template", "TemplateError", "parse", "parse_aside", "thinking_tags"]
