"""Parser of tool calls in JSON: `{"name": …, "arguments": {…}}` after a tag, one or a list of them.

Text that is no call is shown unchanged: a tag that is only mentioned, a function that was not offered, other
JSON. Accepted variants of a call: in a list, with its arguments as a string of JSON, with `parameters` for
`arguments`, with its keys in another order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from enum import Enum, auto

from engine_worker.output.arguments import JsonScanner
from engine_worker.output.tool_calls import CallFragment
from engine_worker.output.whole_calls import held_beginning

# A call whose arguments can be streamed while they arrive.
_BEGINNING = re.compile(
    r'\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*(?:,\s*"(?:arguments|parameters)"\s*:\s*(?=\{))?'
)
# Mistral's compact form, with or without an id, and a text that may still become it.
_NAMED = re.compile(r"([\w.-]+)(?:\[CALL_ID\]\w*)?\[ARGS\]\s*(?=\{)")
_MAY_BE_NAMED = re.compile(
    r"[\w.-]{1,256}(?:\[[A-Z_]*|\[CALL_ID\]\w*(?:\[[A-Z]*)?|(?:\[CALL_ID\]\w*)?\[ARGS\]\s*)?"
)
_CALL_KEYS = ("name", "arguments", "parameters", "function", "type", "id")
_FIRST_KEY = re.compile(r'\{\s*(?:"([a-z]*)("?))?')
_ARGUMENTS = ("arguments", "parameters")


class _State(Enum):
    TEXT = auto()
    HEAD = auto()
    ARGUMENTS = auto()
    TAIL = auto()
    NEXT = auto()
    GAP = auto()


class JsonCalls:
    """Implements output.tool_calls.CallParser.

    `tag` begins a call or a list of calls, and `closing` ends it; without a tag the response begins with one.
    `named`: the tag may be followed by a name and a mark, as Mistral's models write (`name[ARGS]{…}`).
    `only_calls`: a grammar allows only calls, so all other text is dropped. `certain`: a grammar allows the
    tag only before a call.
    """

    def __init__(
        self,
        tag: str,
        closing: str,
        names: Collection[str],
        only_calls: bool = False,
        certain: bool = False,
        named: bool = False,
    ) -> None:
        self._tag = tag
        self._closing = closing
        self._names = names
        self._only_calls = only_calls
        self._certain = certain
        self._named = named
        self._ends_with_arguments = False
        self._state = _State.TEXT if tag else _State.HEAD
        self._held = ""
        # The tag and white space after it, which are shown as text if no call follows.
        self._undecided = ""
        self._is_list = False
        self._scanner = JsonScanner()
        # Number of held characters that the scanner has read.
        self._scanned = 0
        self._calls = 0

    @property
    def holds(self) -> bool:
        return self._state is not _State.TEXT or bool(self._held)

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        self._held += text
        shown: list[str] = []
        calls: list[CallFragment] = []
        while self._step(shown, calls):
            pass
        return self._text(shown), calls

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        """End the output. A call that is cut off is sent incomplete, or dropped if it has no name yet."""
        held = self._taken(len(self._held))
        if self._state is _State.TEXT:
            return self._text([] if self._certain else [held]), ()
        if self._state is not _State.HEAD:
            return "", ()
        begun = _BEGINNING.match(held)
        if begun and (name := _unquoted(begun.group(1))) in self._names:
            return "", [self._begin(name)]
        is_call = self._certain or _may_become_call(held)
        return self._text([] if is_call else [self._undecided, held]), ()

    def _text(self, shown: Sequence[str]) -> str:
        return "" if self._only_calls else "".join(shown)

    def _step(self, shown: list[str], calls: list[CallFragment]) -> bool:
        """Parse some of the held text. Returns True if more of it can be parsed now."""
        match self._state:
            case _State.TEXT:
                return self._find_tag(shown)
            case _State.HEAD:
                return self._read_head(shown, calls)
            case _State.ARGUMENTS:
                return self._read_arguments(calls)
            case _State.TAIL:
                return self._skip_tail()
            case _State.NEXT:
                return self._look_for_next()
            case _State.GAP:
                return self._skip_gap()

    def _find_tag(self, shown: list[str]) -> bool:
        at = self._held.find(self._tag) if self._tag else -1
        if at < 0:
            keep = held_beginning(self._held, self._tag)
            shown.append(self._taken(len(self._held) - keep))
            return False
        shown.append(self._taken(at))
        self._undecided = self._taken(len(self._tag))
        self._is_list = False
        self._expect_call()
        return True

    def _expect_call(self) -> None:
        self._state, self._scanner, self._scanned = _State.HEAD, JsonScanner(), 0

    def _read_head(self, shown: list[str], calls: list[CallFragment]) -> bool:
        """Decide whether a call begins here. Returns as `_step` does."""
        self._skip_into_list()
        if not self._held:
            return False
        if not self._held.startswith("{"):
            return self._read_name(shown, calls) if self._named else self._is_text(shown)
        new = self._held[self._scanned :]
        if self._scanner.in_string and '"' not in new:
            # A string continues: do not match its beginning again.
            self._scanner.end_in(new)
            self._scanned = len(self._held)
            return False
        begun = _BEGINNING.match(self._held)
        if begun and begun.group().rstrip().endswith(":"):
            name = _unquoted(begun.group(1))
            if name not in self._names:
                return self._is_text(shown)
            self._taken(begun.end())
            calls.append(self._begin(name))
            self._state, self._scanner = _State.ARGUMENTS, JsonScanner()
            return True
        end = self._scanner.end_in(new)
        if end is None:
            self._scanned = len(self._held)
            return False
        end += self._scanned
        call = self._whole_call(self._held[:end])
        if call is None:
            return self._is_text(shown)
        self._taken(end)
        calls.append(call)
        self._state = _State.NEXT
        return True

    def _read_name(self, shown: list[str], calls: list[CallFragment]) -> bool:
        named = _NAMED.match(self._held)
        if named is None:
            return False if _MAY_BE_NAMED.fullmatch(self._held) else self._is_text(shown)
        if named[1] not in self._names:
            return self._is_text(shown)
        self._taken(named.end())
        calls.append(self._begin(named[1]))
        self._state, self._scanner = _State.ARGUMENTS, JsonScanner()
        self._ends_with_arguments = True
        return True

    def _skip_into_list(self) -> None:
        """Skip white space and one bracket after a tag."""
        if self._scanned:
            return
        self._undecided += self._taken(_space_at_start(self._held))
        if not self._is_list and self._held.startswith("["):
            self._is_list = True
            self._undecided += self._taken(1)
            self._undecided += self._taken(_space_at_start(self._held))

    def _is_text(self, shown: list[str]) -> bool:
        """Show the beginning of what is no call as text; the held text may still contain a tag."""
        shown.append(self._undecided)
        self._undecided = ""
        self._state = _State.TEXT
        if not self._tag:
            shown.append(self._taken(len(self._held)))
        return bool(self._held)

    def _begin(self, name: str) -> CallFragment:
        self._undecided = ""
        self._calls += 1
        return CallFragment(self._calls, name, "")

    def _read_arguments(self, calls: list[CallFragment]) -> bool:
        end = self._scanner.end_in(self._held)
        fragment = self._taken(len(self._held) if end is None else end)
        if fragment:
            calls.append(CallFragment(self._calls, "", fragment))
        if end is None:
            return False
        self._state = _State.NEXT if self._ends_with_arguments else _State.TAIL
        self._scanner, self._ends_with_arguments = JsonScanner(depth=1), False
        return True

    def _skip_tail(self) -> bool:
        """Skip what follows the arguments in the same object, for example an id."""
        end = self._scanner.end_in(self._held)
        self._taken(len(self._held) if end is None else end)
        if end is None:
            return False
        self._state = _State.NEXT
        return True

    def _look_for_next(self) -> bool:
        """Find the next call of the list, or the list's end. White space between calls is dropped."""
        self._taken(_space_at_start(self._held))
        if self._is_list and self._held.startswith("]"):
            self._taken(1)
            self._is_list = False
            return True
        behind_comma = self._held.removeprefix(",").lstrip()
        if not behind_comma:
            return False
        if behind_comma.startswith("{"):
            self._held = behind_comma
            self._expect_call()
        elif self._closing and self._held.startswith(self._closing):
            self._taken(len(self._closing))
            self._state = _State.GAP
        elif self._closing.startswith(self._held):
            return False
        else:
            self._state = _State.TEXT
        return True

    def _skip_gap(self) -> bool:
        self._taken(_space_at_start(self._held))
        if self._held:
            self._state = _State.TEXT
        return bool(self._held)

    def _whole_call(self, text: str) -> CallFragment | None:
        """The call in a complete object; None if it is no call of an offered function."""
        try:
            value = json.loads(text)
        except ValueError:
            return None
        if isinstance(value, dict) and isinstance(value.get("function"), dict):
            value = value["function"]
        name = value.get("name")
        arguments: object = next((value[key] for key in _ARGUMENTS if key in value), {})
        arguments_json = _object_json(arguments)
        if name not in self._names or arguments_json is None:
            return None
        return CallFragment(self._begin(name).key, name, arguments_json)

    def _taken(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken


def _may_become_call(held: str) -> bool:
    """True if the first key of incomplete JSON is, or begins like, one of a call's keys."""
    found = _FIRST_KEY.match(held)
    if found is None:
        return False
    key, is_whole = found[1] or "", bool(found[2])
    return key in _CALL_KEYS if is_whole else any(each.startswith(key) for each in _CALL_KEYS)


def _space_at_start(text: str) -> int:
    return len(text) - len(text.lstrip())


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return ""


def _object_json(arguments: object) -> str | None:
    """Arguments as JSON: from an object, from a string that holds one, or `{}` if there are none."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            return None
    if arguments is None:
        arguments = {}
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else None
