"""Structural tags as grammars: free text in which tags, once begun, have a prescribed content.

Both of SGLang's forms are read: `structures` with `triggers`, and a `format` of nested parts. As a grammar of
Drover's a tag means the same on every engine, and a malformed one never reaches an engine's compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from drover.errors import ConstraintRejected
from engine_worker.schemas.schema_reader import read_schema
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import (
    ANY,
    EMPTY,
    Ref,
    Term,
    choice,
    optional,
    renamed,
    repeat,
    sequence,
    text,
)
from engine_worker.schemas.text_until import TextUntil

_MAX_DEPTH = 20
_MAX_TAGS = 256
_MAX_TRIGGERS = 64
_MAX_TEXT_CHARACTERS = 1024
_MAX_TRIGGER_CHARACTERS = 64
# Of all texts that are looked for in free text; making the automata takes a second.
_MAX_SEARCHED_CHARACTERS = 256
_FIELD = "structural_tag"
# Members that narrow what a format's text may be, and are not read; and their values without effect.
_UNREAD = ("excludes", "max_chars", "max_tokens", "style")
_WITHOUT_EFFECT: Sequence[object] = (None, [], "json")

Part = Mapping[str, object]
Read = Callable[[object], Grammar]
"""Makes a grammar of a schema, an expression or a grammar's text. Raises ConstraintRejected."""


def read_structural_tag(source: str, readers: Mapping[str, Read]) -> Grammar:
    """`readers`: of the parts json_schema, regex and grammar, by type. Raises ConstraintRejected."""
    value = read_schema(source, f"{_FIELD}: it")
    if not isinstance(value, dict):
        raise _malformed("it must be an object")
    builder = _Builder(readers)
    if "structures" in value:
        root = builder.triggered(_modern(value))
    else:
        root = builder.part(value.get("format"), 0)
    return Grammar({ROOT: root, **builder.rules})


def _modern(legacy: Part) -> Part:
    """Convert the older form (`structures` and `triggers`) to the newer one."""
    tags = [
        {
            "begin": structure.get("begin"),
            "content": {"type": "json_schema", "json_schema": structure.get("schema") or {}},
            "end": structure.get("end"),
        }
        for structure in _objects(legacy, "structures")
    ]
    return {"triggers": legacy.get("triggers"), "tags": tags, "at_least_one": legacy.get("at_least_one")}


class _Builder:
    """`rules`: the rules beyond ROOT's."""

    def __init__(self, readers: Mapping[str, Read]) -> None:
        self._readers = readers
        self._parts = 0
        self._searched = 0
        self.rules: dict[str, Term] = {}

    def part(self, value: object, depth: int) -> Term:
        if not isinstance(value, dict):
            raise _malformed("each format must be an object with a type")
        if depth > _MAX_DEPTH:
            raise _malformed(f"its formats are nested more than {_MAX_DEPTH} deep")
        kind = value.get("type")
        _check_unread(value)
        match kind:
            case "const_string":
                return text(_text(value, "value"))
            case "any_text":
                return repeat(ANY)
            case "json_schema":
                return self._read("json_schema", value.get("json_schema") or {})
            case "regex":
                return self._read("regex", _text(value, "pattern"))
            case "grammar":
                return self._read("grammar", _text(value, "grammar"))
            case "sequence":
                return sequence(*(self.part(each, depth + 1) for each in _objects(value, "elements")))
            case "or":
                return choice(*(self.part(each, depth + 1) for each in _objects(value, "elements")))
            case "tag":
                return self._tag(value, 0, depth)
            case "triggered_tags":
                return self.triggered(value, depth)
            case "tags_with_separator":
                return self._separated(value, depth)
            case _:
                raise _malformed(f"formats of type {str(kind)[:40]!r} are not supported")

    def triggered(self, value: Part, depth: int = 0) -> Term:
        """Free text; a trigger begins one of the tags that begin with it, after which free text follows."""
        triggers, tags = _triggers(value), _objects(value, "tags")
        after: dict[str, Term] = {}
        for trigger in triggers:
            begun = [tag for tag in tags if _text(tag, "begin").startswith(trigger)]
            if not begun:
                raise _malformed(f"no tag begins with the trigger {trigger!r}")
            after[trigger] = choice(*(self._tag(tag, len(trigger), depth) for tag in begun))
        unbegun = [tag for tag in tags if not any(_text(tag, "begin").startswith(each) for each in triggers)]
        if unbegun:
            raise _malformed(f"no trigger begins the tag {_text(unbegun[0], 'begin')!r}")
        until = self._until(triggers)
        following = Ref(f"after{self._new_number()}")
        tagged = choice(*(sequence(until.ended[trigger], after[trigger], following) for trigger in triggers))
        more = self._rule(choice(tagged, until.free))
        self.rules[following.name] = EMPTY if value.get("stop_after_first") else more
        return tagged if value.get("at_least_one") else more

    def _tag(self, tag: Part, skipped: int, depth: int) -> Term:
        """A tag without the first `skipped` characters of its beginning."""
        begin, end = text(_text(tag, "begin")[skipped:]), _text(tag, "end", may_be_empty=True)
        content = tag.get("content")
        if isinstance(content, dict) and content.get("type") == "any_text" and end:
            _check_unread(content)
            return sequence(begin, self._until([end]).ended[end])
        return sequence(begin, self.part(content, depth + 1), text(end))

    def _separated(self, value: Part, depth: int) -> Term:
        tags = [self._tag(tag, 0, depth) for tag in _objects(value, "tags")]
        one = self._rule(choice(*tags))
        separator = text(_text(value, "separator", may_be_empty=True))
        more = EMPTY if value.get("stop_after_first") else repeat(sequence(separator, one))
        several = sequence(one, more)
        return several if value.get("at_least_one") else optional(several)

    def _read(self, kind: str, value: object) -> Term:
        grammar = self._readers[kind](value)
        prefix = f"p{self._new_number()}_"
        names = {name: f"{prefix}{name}" for name in grammar.rules}
        self.rules |= {names[name]: renamed(term, names) for name, term in grammar.rules.items()}
        return Ref(names[ROOT])

    def _until(self, ends: Sequence[str]) -> TextUntil:
        self._searched += sum(map(len, ends))
        if self._searched > _MAX_SEARCHED_CHARACTERS:
            raise _malformed(
                f"its triggers, and the ends of tags with any text, have {self._searched} characters, at "
                f"most {_MAX_SEARCHED_CHARACTERS} are possible"
            )
        return TextUntil.first_of(ends)

    def _rule(self, term: Term) -> Ref:
        name = f"r{self._new_number()}"
        self.rules[name] = term
        return Ref(name)

    def _new_number(self) -> int:
        self._parts += 1
        return self._parts


def _check_unread(value: Part) -> None:
    for name in _UNREAD:
        if value.get(name) not in _WITHOUT_EFFECT:
            raise _malformed(f"{name} of a format is not supported")


def _triggers(value: Part) -> Sequence[str]:
    triggers = value.get("triggers")
    if not isinstance(triggers, list) or not triggers or len(triggers) > _MAX_TRIGGERS:
        raise _malformed(f"triggers must be a list of 1 to {_MAX_TRIGGERS} texts")
    for trigger in triggers:
        if not isinstance(trigger, str) or not 0 < len(trigger) <= _MAX_TRIGGER_CHARACTERS:
            raise _malformed(f"a trigger must be a text of 1 to {_MAX_TRIGGER_CHARACTERS} characters")
    # One within another is found first, so that the longer one never is.
    return [one for one in triggers if not any(other != one and other in one for other in triggers)]


def _objects(value: Part, name: str) -> Sequence[Part]:
    items = value.get(name)
    if not isinstance(items, list) or not items or len(items) > _MAX_TAGS:
        raise _malformed(f"{name} must be a list of 1 to {_MAX_TAGS} objects")
    for item in items:
        if not isinstance(item, dict):
            raise _malformed(f"{name} must be a list of 1 to {_MAX_TAGS} objects")
    return items


def _text(value: Part, name: str, may_be_empty: bool = False) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not (found or may_be_empty) or len(found) > _MAX_TEXT_CHARACTERS:
        raise _malformed(f"{name} must be a text of at most {_MAX_TEXT_CHARACTERS} characters")
    return found


def _malformed(problem: str) -> ConstraintRejected:
    return ConstraintRejected(f"{_FIELD}: {problem}")
