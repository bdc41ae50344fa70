"""Table of `format` values with their patterns, as far as a grammar can check them."""

from __future__ import annotations

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"({_OCTET}\.){{3}}{_OCTET}"
_HEX = "[0-9a-fA-F]"
_GROUP = f"{_HEX}{{1,4}}"
_IPV6 = "|".join(
    [
        f"({_GROUP}:){{7}}{_GROUP}",
        f"({_GROUP}:){{1,7}}:",
        *(f"({_GROUP}:){{1,{7 - after}}}(:{_GROUP}){{1,{after}}}" for after in range(1, 7)),
        f":(:{_GROUP}){{1,7}}",
        "::",
    ]
)
_DAY = "(0[1-9]|[12][0-9]|3[01])"
_DATE = rf"[0-9]{{4}}-((0[13578]|1[02])-{_DAY}|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
_ZONE = "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,10}}"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}"
_EMAIL = rf"{_ATOM}(\.{_ATOM}){{0,8}}@{_LABEL}(\.{_LABEL}){{1,10}}"
_IN_URI = "([A-Za-z0-9._~:/?#@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_URI = rf"[A-Za-z][A-Za-z0-9+.-]{{0,31}}:{_IN_URI}+"
_UUID = f"{_HEX}{{8}}-{_HEX}{{4}}-%s-{_HEX}{{12}}"
_COUNT = "[0-9]{1,9}"
_SECONDS = f"{_COUNT}S"
_MINUTES = f"{_COUNT}M({_SECONDS})?"
# RFC 3339 allows no gap between units.
_TIME_UNITS = f"({_COUNT}H({_MINUTES})?|{_MINUTES}|{_SECONDS})"
_DATE_UNITS = f"({_COUNT}Y({_COUNT}M({_COUNT}D)?)?|{_COUNT}M({_COUNT}D)?|{_COUNT}D)"


def _of_version(digit: str) -> str:
    return _UUID % f"{digit}{_HEX}{{3}}-[89abAB]{_HEX}{{3}}"


KEPT = {
    "date": _DATE,
    "time": f"{_CLOCK}{_ZONE}",
    "date-time": f"{_DATE}T{_CLOCK}{_ZONE}",
    "duration": f"P({_COUNT}W|{_DATE_UNITS}(T{_TIME_UNITS})?|T{_TIME_UNITS})",
    "email": _EMAIL,
    "hostname": _HOST,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "ipvanyaddress": f"{_IPV4}|{_IPV6}",
    "uuid": _UUID % f"{_HEX}{{4}}-{_HEX}{{4}}",
    **{f"uuid{version}": _of_version(str(version)) for version in range(1, 9)},
    "uri": _URI,
    "url": _URI,
}
# They describe the use or the type of a value and exclude no text.
DESCRIBE = {
    "binary", "color", "directory-path", "double", "file-path", "float", "int32", "int64", "markdown",
    "multi-line", "password", "path", "text", "textarea", "uint32", "uint64",
}  # fmt: skip


def pattern_of(name: str) -> str | None:
    """The pattern of a format, anchored on both sides; None if it is not in the table."""
    body = KEPT.get(name)
    return None if body is None else f"^(?:{body})$"
