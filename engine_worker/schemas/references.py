"""Resolves `$ref` within one schema. Nothing is fetched."""

from __future__ import annotations

from urllib.parse import unquote

from engine_worker.schemas.schema_reader import refuse, shown

_KEYWORDS = ("$ref", "$dynamicRef", "$recursiveRef")
_DEFINITIONS = ("$defs", "definitions")
_ANCHORS = ("$anchor", "$dynamicAnchor")


class References:
    """The references of one schema, by JSON pointer, by anchor, and by name of a nested definition."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._anchors: dict[str, object] | None = None
        self._definitions: dict[str, object] | None = None

    def targets(self, schema: dict[str, object]) -> list[object]:
        """The schemas that a schema refers to. Raises ConstraintRejected for references out of the schema."""
        return [self._target(schema[keyword]) for keyword in _KEYWORDS if keyword in schema]

    def _target(self, reference: object) -> object:
        if not isinstance(reference, str):
            refuse(f"`$ref` must be a string, not {shown(reference)}")
        base, _, fragment = reference.partition("#")
        if base and not (isinstance(self._root, dict) and self._root.get("$id") == base):
            refuse(f"`$ref` {shown(reference)} leads out of the schema, and nothing is fetched")
        if fragment and not fragment.startswith("/"):
            return self._anchored(fragment, reference)
        return self._pointed(fragment, reference)

    def _pointed(self, pointer: str, reference: str) -> object:
        node = self._root
        for step in unquote(pointer).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                return self._nested(pointer, reference)
        return node

    def _nested(self, pointer: str, reference: str) -> object:
        """A definition of a schema that was embedded in another one, so that its pointers start elsewhere."""
        if self._definitions is None:
            self._definitions = {}
            self._collect_definitions(self._root, self._definitions)
        if pointer not in self._definitions:
            refuse(f"`$ref` {shown(reference)} leads nowhere")
        return self._definitions[pointer]

    def _collect_definitions(self, node: object, definitions: dict[str, object]) -> None:
        if isinstance(node, dict):
            for keyword in _DEFINITIONS:
                named = node.get(keyword)
                for name, schema in named.items() if isinstance(named, dict) else ():
                    definitions.setdefault(f"/{keyword}/{name}", schema)
            node = list(node.values())
        if isinstance(node, list):
            for part in node:
                self._collect_definitions(part, definitions)

    def _anchored(self, name: str, reference: str) -> object:
        if self._anchors is None:
            self._anchors = {}
            self._collect(self._root, self._anchors)
        if name not in self._anchors:
            refuse(f"`$ref` {shown(reference)} leads nowhere")
        return self._anchors[name]

    def _collect(self, node: object, anchors: dict[str, object]) -> None:
        if isinstance(node, dict):
            for keyword in _ANCHORS:
                if isinstance(name := node.get(keyword), str):
                    anchors.setdefault(name, node)
            node = list(node.values())
        if isinstance(node, list):
            for part in node:
                self._collect(part, anchors)
