"""JSON as Go reads it: accepted values, and errors in Go's words."""

from __future__ import annotations

import pytest

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json, dumps, dumps_text, loads
from tests.fakes.transcripts import Exchange, exchanges

_SYNTAX = ("missing request body", "unexpected EOF", "invalid character")


def _of_syntax(exchange: Exchange) -> bool:
    return (
        exchange.status == 400
        and exchange.path.startswith("/api/")
        and exchange.answer.startswith('{"error":"')
        and exchange.error().startswith(_SYNTAX)
    )


def _refusal(body: bytes) -> str:
    with pytest.raises(InvalidRequest) as refused:
        loads(body)
    return refused.value.message


@pytest.mark.parametrize("exchange", [each for each in exchanges() if _of_syntax(each)], ids=str)
def test_a_recorded_syntax_error(exchange: Exchange) -> None:
    assert _refusal(exchange.body) == exchange.error()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "missing request body"),
        (b" \t\r\n", "missing request body"),
        (b"[", "unexpected EOF"),
        (b'{"a"', "unexpected EOF"),
        (b'{"a":', "unexpected EOF"),
        (b'{"a":1', "unexpected EOF"),
        (b'{"a":1,', "unexpected EOF"),
        (b'"abc', "unexpected EOF"),
        (b'"\\', "unexpected EOF"),
        (b'"\\u12', "unexpected EOF"),
        (b"tru", "unexpected EOF"),
        (b"-", "unexpected EOF"),
        (b"1.", "unexpected EOF"),
        (b"1e", "unexpected EOF"),
        (b"1e+", "unexpected EOF"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"'", r"invalid character '\'' looking for beginning of value"),
        (b"]", "invalid character ']' looking for beginning of value"),
        (b"[,", "invalid character ',' looking for beginning of value"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"\x00", r"invalid character '\x00' looking for beginning of value"),
        ("é".encode(), "invalid character 'Ã' looking for beginning of value"),
        (b"NaN", "invalid character 'N' looking for beginning of value"),
        (b"+1", "invalid character '+' looking for beginning of value"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b'{"a":1]', "invalid character ']' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[01]", "invalid character '1' after array element"),
        (b"[1}", "invalid character '}' after array element"),
        (b'"\n"', r"invalid character '\n' in string literal"),
        (b'"\x01"', r"invalid character '\x01' in string literal"),
        (rb'"\x"', "invalid character 'x' in string escape code"),
        (rb'"\u12g4"', r"invalid character 'g' in \u hexadecimal character escape"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"1ex", "invalid character 'x' in exponent of numeric literal"),
        (b"1e+x", "invalid character 'x' in exponent of numeric literal"),
        (b"trux", "invalid character 'x' in literal true (expecting 'e')"),
        (b"fx", "invalid character 'x' in literal false (expecting 'a')"),
        (b"nil", "invalid character 'i' in literal null (expecting 'u')"),
        (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),
    ],
)
def test_errors_have_gos_words(body: bytes, message: str) -> None:
    assert _refusal(body) == message


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":1} trailing', {"a": 1}),
        (b'{"a":1}{"b":2}', {"a": 1}),
        (b"1,", 1),
        (b"true]", True),
        (b"nullx", None),
        (b'"a"b', "a"),
        (b"{}\xff", {}),
        (b'{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
        (b'{"a":1,"a":3} trailing', {"a": 3}),
        (b'"a\xffb"', "a\ufffdb"),
        (b'{"\xff":[]}', {"\ufffd": []}),
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\/\u0041"', "/A"),
        (b'"\x7f"', "\x7f"),
    ],
)
def test_values_that_go_reads(body: bytes, value: Json) -> None:
    assert loads(body) == value


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'"\ud800"', "\ufffd"),
        (rb'"a\udc00b"', "a\ufffdb"),
        (rb'"\ud800\u0041"', "\ufffdA"),
        (rb'"\ud800" trailing', "\ufffd"),
        (rb'"\\ud800"', r"\ud800"),
    ],
)
def test_half_a_surrogate_pair_becomes_the_replacement_character(body: bytes, text: str) -> None:
    assert loads(body) == text


def test_half_a_surrogate_pair_in_a_key() -> None:
    assert loads(rb'{"\ud800":{"a":["\udfff"]}}') == {"\ufffd": {"a": ["\ufffd"]}}


@pytest.mark.parametrize("body", [b"1e999", b"1e999 trailing", b"[-1e999]", b'{"a":1E+400}'])
def test_a_number_out_of_range_is_refused_in_gos_words(body: bytes) -> None:
    with pytest.raises(
        InvalidRequest, match=r"^json: cannot unmarshal number -?1[eE]\+?\d+ into Go value of "
    ):
        loads(body)


@pytest.mark.parametrize("trailing", [b"", b" trailing"])
def test_every_value_that_was_read_can_be_encoded(trailing: bytes) -> None:
    body = b'{"a":100000000000000000000,"b":-9223372036854775809,"c":1.5}'

    assert loads(dumps(loads(body + trailing))) == loads(body)


def test_html_is_escaped_as_go_does() -> None:
    assert dumps_text("<a href='x'>&\u2028\u2029\"\n\x00é") == (
        rb'"\u003ca href=' + b"'x'" + rb"\u003e\u0026\u2028\u2029\"\n\u0000" + "é".encode() + b'"'
    )
    assert dumps_text("plain – text") == '"plain – text"'.encode()
    assert dumps({"<": ["&", 1.0, None]}) == rb'{"\u003c":["\u0026",1.0,null]}'
