"""What Go documents of verbs, literals, comparisons and numbers, beyond the recorded cases."""

from __future__ import annotations

import pytest

from drover.go_template.errors import TemplateError
from tests.unit.drover.go_template.test_as_go import run


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ('printf "%"', "%!(NOVERB)"),
        ('printf "%d%%" 3', "3%"),
        ('printf "%d"', "%!d(MISSING)"),
        ('printf "a" 1 "b"', "a%!(EXTRA int=1, string=b)"),
        ('printf "%*d|" 5 3', "    3|"),
        ('printf "%*d|" -5 3', "3    |"),
        ('printf "%.*f" 2 1.5', "1.50"),
        ('printf "%05d|%-5d|%.3d" 42 42 7', "00042|42   |007"),
        ('printf "%c%c" 72 105', "Hi"),
        ('printf "%q" 39', r"'\''"),
        ('printf "%U %#U" 233 233', "U+00E9 U+00E9 'é'"),
        ('printf "%#x|%#o|%#b|%X" 255 8 5 255', "0xff|010|0b101|FF"),
        ('printf "%+d|% d|%+d" 3 3 -3', "+3| 3|-3"),
        ('printf "%+.2f|%e|%G" 1.5 1500.0 0.5', "+1.50|1.500000e+03|0.5"),
        ('printf "%x|%X|% x|%#x|%# x" "hi" "jo" "hi" "hi" "hi"', "6869|6A6F|68 69|0x6869|0x68 0x69"),
        ('printf "%v %#v" "a" "a"', 'a "a"'),
        ('printf "%.1s|%5s|%-5s|" "héé" "é" "é"', "h|    é|é    |"),
        ('printf "%d" "a"', "%!d(string=a)"),
        ('printf "%s" 3', "%!s(int=3)"),
        ('printf "%d" .LL', "[[1 2] [3]]"),
        ('printf "%d" .L', "[%!d(string=x) %!d(string=y) %!d(string=z)]"),
        ('printf "%d" .Nil', "%!d(<nil>)"),
        ('printf "%z" 1.5', "%!z(float64=1.5)"),
        ('printf "%x" true', "%!x(bool=true)"),
        (r'printf "%q" "a\x01\u200b\U000E0001\""', r'"a\x01\u200b\U000e0001\""'),
    ],
)
def test_verbs(call: str, text: str) -> None:
    assert run("{{ " + call + " }}") == text


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        (r'"\x41\101\u00e9\U0001F411\""', 'AAé🐑"'),
        (r"'\''", "39"),
        ("017", "15"),
        ("0o17", "15"),
        ("0b101", "5"),
        ("1_000", "1000"),
        ("0x1p4", "16"),
        ("1e21", "1e+21"),
        ("0.00001", "1e-05"),
        ("1.25e-7", "1.25e-07"),
        ("json 1e22", "1e+22"),
        ("json 1.5e-9", "1.5e-9"),
        ("json 100000000000000000000.0", "100000000000000000000"),
    ],
)
def test_literals_and_numbers(literal: str, text: str) -> None:
    assert run("{{ " + literal + " }}") == text


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (r'{{ "\'"' + "}}", "invalid syntax"),
        (r'{{ "\400" }}', "invalid syntax"),
        (r'{{ "\ud800" }}', "invalid syntax"),
        ("{{ 1e400 }}", "illegal number syntax"),
        ("{{ 9223372036854775808 }}", "integer overflow"),
        ("{{ eq .L .L }}", "uncomparable type"),
        ('{{ eq "x" .L }}', "incompatible types for comparison"),
        ("{{ lt true false }}", "invalid type for comparison"),
        ('{{ lt 1 "a" }}', "incompatible types for comparison"),
        ("{{ range true }}{{ end }}", "range can't iterate over true"),
        ("{{ range 1.5 }}{{ end }}", "range can't iterate over 1.5"),
        ('{{ template "nope" }}', 'template "nope" not defined'),
        ("{{ printf 3 }}", "expected string; got int"),
        ("{{ index .Nil 1 }}", "index of untyped nil"),
        ("{{ index .L .Nil }}", "cannot index slice/array with nil"),
        ("{{ .N.X }}", "can't evaluate field X"),
        ("{{ .Nil.X }}", "nil pointer evaluating interface {}.X"),
    ],
)
def test_errors(source: str, error: str) -> None:
    with pytest.raises(TemplateError) as failure:
        run(source)
    assert error in failure.value.message
