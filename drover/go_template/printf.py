"""Go's fmt verbs, as far as templates use them."""

from __future__ import annotations

import re

from drover.go_template.errors import Budget, FunctionFailed
from drover.go_template.literals import quoted, rune_name
from drover.go_template.values import Value, text_of, type_name

_VERB = re.compile(
    r"%(?P<flags>[-+# 0]*)(?P<width>\d+|\*)?(?:\.(?P<precision>\d+|\*)?)?(?P<verb>.)?", re.DOTALL
)
_DOT = re.compile(r"%[-+# 0]*(?:\d+|\*)?\.")
# Go's bound of width and precision.
_WIDEST = 1_000_000
_INT_VERBS = {"b": "b", "o": "o", "x": "x", "X": "X", "d": "d"}


def printf(template: str, arguments: list[Value], budget: Budget) -> str:
    """Go's Sprintf. Raises FunctionFailed for a value nested too deeply, TemplateError for a text that is too
    long.
    """
    return _Printer(template, arguments, budget).run()


class _Printer:
    def __init__(self, template: str, arguments: list[Value], budget: Budget) -> None:
        self._template = template
        self._arguments = arguments
        self._budget = budget
        self._used = 0

    def run(self) -> str:
        parts: list[str] = []
        at = 0
        for found in _VERB.finditer(self._template):
            if found.start() < at:
                continue
            parts.append(self._template[at : found.start()])
            parts.append(self._formatted(found))
            at = found.end()
        parts.append(self._template[at:])
        if self._used < len(self._arguments):
            extra = (f"{_type(each)}={_text(each)}" for each in self._arguments[self._used :])
            parts.append(f"%!(EXTRA {', '.join(extra)})")
        return "".join(parts)

    def _formatted(self, found: re.Match[str]) -> str:
        verb = found["verb"]
        width = self._number(found["width"])
        has_dot = _DOT.match(self._template, found.start(), found.end()) is not None
        precision = (self._number(found["precision"]) or 0) if has_dot else None
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if self._used >= len(self._arguments):
            return f"%!{verb}(MISSING)"
        value = self._arguments[self._used]
        self._used += 1
        flags = found["flags"]
        if width is not None and width < 0:
            flags, width = flags + "-", -width
        self._budget.characters((width or 0) + (precision or 0))
        return _with_verb(value, verb, flags, width or 0, precision)

    def _number(self, text: str | None) -> int | None:
        if text != "*":
            return min(int(text[:8]), _WIDEST) if text else None
        if self._used >= len(self._arguments):
            return None
        value = self._arguments[self._used]
        self._used += 1
        return value if type(value) is int and abs(value) <= _WIDEST else None


def _with_verb(value: Value, verb: str, flags: str, width: int, precision: int | None) -> str:
    if isinstance(value, list) and verb not in "vTsq":
        return f"[{' '.join(_with_verb(each, verb, flags, width, precision) for each in value)}]"
    text = _formatted(value, verb, flags, precision)
    if text is None:
        return (
            f"%!{verb}({_type(value)}={_text(value)})" if value is not None else f"%!{verb}({_text(value)})"
        )
    if len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" not in flags:
        return text.rjust(width)
    sign = text[:1] if text[:1] in ("+", "-") and not isinstance(value, str) else ""
    return sign + text[len(sign) :].rjust(width - len(sign), "0")


def _formatted(value: Value, verb: str, flags: str, precision: int | None) -> str | None:
    """The value formatted; None if the verb does not apply to it."""
    if verb == "T":
        return type_name(value)
    if verb == "v" and not isinstance(value, int | float | str):
        return text_of(value)
    match value:
        case bool():
            return text_of(value) if verb in "tv" else None
        case int():
            return _int(value, verb, flags, precision)
        case float():
            return _float(value, verb, flags, precision)
        case str():
            return _string(value, verb, flags, precision)
        case None:
            return None
        case _ if verb in "sq":
            text = text_of(value)
            return quoted(text) if verb == "q" else text
        case _:
            return None


def _int(value: int, verb: str, flags: str, precision: int | None) -> str | None:
    if verb in ("c", "q", "U"):
        point = chr(value) if 0 <= value <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"
        if verb == "U":
            return rune_name(point) if "#" in flags else rune_name(point).split(" ")[0]
        return point if verb == "c" else "'" + quoted(point)[1:-1].replace("'", "\\'") + "'"
    if verb == "v":
        verb = "d"
    if verb not in _INT_VERBS:
        return None
    digits = format(abs(value), _INT_VERBS[verb]).rjust(precision or 0, "0")
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
    return _sign(value < 0, flags) + prefix + digits


def _float(value: float, verb: str, flags: str, precision: int | None) -> str | None:
    if verb not in "vgGeEfF":
        return None
    if verb == "v" or (verb in "gG" and precision is None):
        text = text_of(abs(value))
    else:
        text = format(abs(value), f".{6 if precision is None else precision}{verb}")
    return _sign(value < 0, flags) + text


def _sign(is_negative: bool, flags: str) -> str:
    if is_negative:
        return "-"
    return "+" if "+" in flags else " " if " " in flags else ""


def _string(value: str, verb: str, flags: str, precision: int | None) -> str | None:
    cut = value if precision is None else value[:precision]
    match verb:
        case "s":
            return cut
        case "v":
            return quoted(cut) if "#" in flags else cut
        case "q":
            return quoted(cut)
        case "x" | "X":
            data = cut.encode(errors="replace")
            prefix = "0x" if "#" in flags else ""
            parts = [f"{byte:02x}" for byte in data] if " " in flags else [data.hex()] if data else []
            digits = " ".join(prefix + part for part in parts)
            return digits.upper() if verb == "X" else digits
        case _:
            return None


def _type(value: Value) -> str:
    return type_name(value)


def _text(value: Value) -> str:
    try:
        return text_of(value)
    except FunctionFailed:
        return "..."
