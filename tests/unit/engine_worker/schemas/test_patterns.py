"""Regular expressions as terms: they match as in JavaScript, or are refused with a reason."""

from __future__ import annotations

import re

import pytest

from engine_worker.schemas.lark_writer import regex_text
from engine_worker.schemas.patterns import Unsupported, read_pattern


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("^a|b$", ["a", "ax", "xb"], ["xa", "bx", ""]),
        (r"\A[a-c]{2,3}\z", ["ab", "abc"], ["a", "abcd", "ad"]),
        (r"^[^a-c]$", ["d", "é"], ["a", "dd"]),
        (r"^[\d_-]+$", ["1_-2"], ["a", ""]),
        (r"^\x41\u00e9\t$", ["Aé\t"], ["Aé", "A"]),
        (r"^\ud83d\udc11$", ["🐑"], ["\ufffd"]),
        (r"^\.\$$", [".$"], ["a$"]),
        (r"^(?:ab)*?c{2}$", ["cc", "ababcc"], ["abc"]),
        (r"^(?<name>a)?$", ["", "a"], ["aa"]),
        (r"^[\b]$", ["\b"], ["b"]),
        (r"^[^\s\S]|x$", ["x", "yx"], ["y", ""]),
        ("", ["", "anything"], []),
    ],
)
def test_supported_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    # Rust writes \x{41} for what Python writes as \U00000041.
    rust = regex_text(read_pattern(pattern))
    written = re.sub(r"\\x\{([0-9A-Fa-f]+)\}", lambda code: f"\\U{int(code[1], 16):08x}", rust)
    assert [text for text in matching if re.fullmatch(written, text) is None] == []
    assert [text for text in others if re.fullmatch(written, text)] == []


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a)", "the ) at character 2 has no ("),
        ("(a", "the ( at character 1 has no )"),
        ("x[a", "the [ at character 2 has no ]"),
        ("[a-", "the [ at character 1 has no ]"),
        ("a\\", "the \\ at its end escapes nothing"),
        ("*a", "the * at character 1 repeats nothing"),
        ("a**", "a repetition of a repetition"),
        ("a{3,2}", "counts from 3 down to 2"),
        ("a{999999999}", "a repetition of more than"),
        ("a^b", "a ^ in its middle"),
        ("a$b", "text after the $"),
        ("(a$)b", "a $ in its middle"),
        ("(?=a)", "look-around or a flag"),
        ("[z-a]", "the range before character 5 is not in order"),
        (r"\ud83d", "half of a surrogate pair"),
        (r"\k", "the escape \\k"),
        ("(" * 2000 + ")" * 2000, "groups within one another"),
        ("a" * 100_000, "characters"),
    ],
)
def test_unsupported_patterns(pattern: str, why: str) -> None:
    with pytest.raises(Unsupported, match=re.escape(why)):
        read_pattern(pattern)
