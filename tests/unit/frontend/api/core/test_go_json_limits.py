"""Deep, long and random JSON: it costs little time and memory, and is read or refused."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drover.errors import InvalidRequest
from frontend.api.core.go_json import MAX_COMMAS, MAX_QUOTES, Json, dumps, loads
from tests.support.cpu_time import within_cpu

_MEGABYTE = 1_000_000
_LONG = 5 * _MEGABYTE
# Generous for a busy machine: a byte-by-byte loop in Python takes several times as long.
_LIMIT_SECONDS = 2.0

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5),
    ),
    max_leaves=20,
)


@given(VALUES)
def test_bytes_after_a_value_do_not_change_it(value: Json) -> None:
    assert loads(dumps(value) + b" trailing") == value


@given(VALUES)
def test_a_value_in_any_style_of_json_is_read(value: Json) -> None:
    styles = (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1))
    assert all(loads(style.encode() + end) == value for style in styles for end in (b"", b"\n]"))


@given(st.binary())
@example(b"\xff")
@example(b'{"\xff":1}')
@example(b"1" * 5000)
@example(b"1" * 5000 + b" x")
@example(b"-0 x")
def test_any_bytes_are_a_value_or_an_invalid_request(data: bytes) -> None:
    try:
        loads(data)
    except InvalidRequest as error:
        assert error.message  # noqa: PT017


@given(st.text(alphabet='{}[]",:\\u0e18 \n-.+tfnrualse\x00é', max_size=40))
def test_near_json_is_read_as_python_reads_it_or_refused(text: str) -> None:
    try:
        value = loads(text.encode())
    except InvalidRequest:
        with pytest.raises(ValueError):
            json.loads(text)
    else:
        assert value == json.JSONDecoder().raw_decode(text.lstrip(" \n"))[0]


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"[[],", b'{"a":[{},'])
def test_100000_brackets_are_refused_quickly(opening: bytes) -> None:
    began = time.thread_time()

    with pytest.raises(InvalidRequest):
        loads(opening * 100_000)

    assert time.thread_time() - began < 1


def test_a_deep_value_is_read_or_refused_but_never_breaks_the_process() -> None:
    for depth in (100, 1_000, 1_100, 9_999, 10_000, 10_001):
        body = b"[" * depth + b"]" * depth
        try:
            loads(body)
        except InvalidRequest as error:
            assert error.message.endswith("exceeded max depth")  # noqa: PT017
            assert depth > 900


@pytest.mark.parametrize(
    "body",
    [
        b"A" * _LONG,
        b"[" + b"A" * _LONG,
        b" " * _LONG,
        b" " * _LONG + b"x",
        b'"' + b"a" * _LONG,
        b'"' + b"a" * _LONG + b'" x',
        b'"' + rb"\n" * (_LONG // 2) + b'" x',
        b'"' + rb"\u00e9" * (_LONG // 6) + b"\x00",
        b"1" * _LONG,
        b"1" * _LONG + b" x",
        b"[" + b"1," * (_LONG // 2),
        b"[" + b"[]," * (_LONG // 3),
        b"[" + b'{"a":"b"},' * (_LONG // 10) + b"{}] x",
    ],
    ids=lambda body: f"{body[:12]!r}...{body[-3:]!r}",
)
def test_five_megabytes_of_garbage_are_refused_quickly(body: bytes) -> None:
    began = time.thread_time()

    with suppress(InvalidRequest):
        loads(body)

    assert time.thread_time() - began < _LIMIT_SECONDS


@pytest.mark.parametrize("item", [b"[],", b"{},", b'{"a":[]},'])
def test_millions_of_containers_are_refused(item: bytes) -> None:
    """While they are, nothing else runs in this process."""
    body = b"[" + item * (4 * _LONG // len(item)) + b"1]"
    began = time.thread_time()

    with pytest.raises(InvalidRequest, match="more than 500000"):
        loads(body)

    assert time.thread_time() - began < 0.2


@pytest.mark.parametrize("inside", [b"a", rb"\n", b"\xff"])
def test_a_long_string_takes_a_few_times_its_own_length_of_memory(inside: bytes) -> None:
    body = b'"' + inside * (_MEGABYTE // len(inside)) + b'" x'
    gc.collect()
    tracemalloc.start()
    try:
        loads(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 20 * _MEGABYTE


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (
            b"{" + b",".join(b'"%d":1' % number for number in range(MAX_QUOTES // 2 + 1)) + b"}",
            "500000 texts",
        ),
        (b"[" + b'"",' * (MAX_QUOTES // 2) + b'""]', "500000 texts"),
        (b"[" + b"1," * (MAX_COMMAS + 1) + b"1]", "2000000 values"),
    ],
    ids=["names", "texts", "numbers"],
)
def test_too_many_values_are_refused(body: bytes, most: str) -> None:
    with within_cpu(_LIMIT_SECONDS / 4), pytest.raises(InvalidRequest, match=f"more than {most}"):
        loads(body)


@pytest.mark.parametrize("at", [2**20 - 2, 2**20 - 1, 2**20])
def test_escaped_quotes_do_not_count(at: int) -> None:
    """Bodies are counted in pieces of a megabyte."""
    text = "a" * (at - 1) + r"\"" + "a" * 2**20
    many = ",".join(['""'] * (MAX_QUOTES // 2 - 1))

    assert isinstance(loads(f'["{text}",{many}]'.encode()), list)
    with pytest.raises(InvalidRequest, match="500000 texts"):
        loads(f'["{text}",{many},""]'.encode())


def test_lone_surrogates_are_replaced() -> None:
    text = rb"\ud800" + b"a" * (2**16 - 2) + rb"\ud83d\ude00\udc00" + "é".encode() * 2**16 + rb"\ude00"

    assert loads(b'"' + text + b'"') == "\ufffd" + "a" * (2**16 - 2) + "😀\ufffd" + "é" * 2**16 + "\ufffd"


def test_a_long_text_may_have_quotes_and_commas() -> None:
    text = '{"a": 1},' * 400_000
    assert loads(json.dumps({"prompt": text}).encode()) == {"prompt": text}
