"""The bodies in this folder are the ones that the CLI sends."""

from __future__ import annotations

from tests.clients import go_requests as go


def test_empty_fields_are_sent() -> None:
    assert go.show("smol") == (
        b'{"model":"","system":"","template":"","verbose":false,"options":null,"name":"smol"}'
    )
    assert go.generate("smol", keep_alive="0s") == (
        b'{"model":"smol","prompt":"","suffix":"","system":"","template":"","keep_alive":"0s","options":null}'
    )
    assert go.transfer("smol") == b'{"model":"","username":"","password":"","name":"smol"}'
    assert go.delete("smol") == b'{"model":"","name":"smol"}'


def test_fields_that_may_be_left_out_are() -> None:
    assert go.chat("smol", [{"role": "user", "content": "Hi"}], options={}) == (
        b'{"model":"smol","messages":[{"role":"user","content":"Hi"}],"options":{}}'
    )
    assert go.create("mine", source="smol") == b'{"model":"mine","from":"smol","name":""}'
    assert go.embed("vectors", "Hi") == b'{"model":"vectors","input":"Hi","options":null}'


def test_think_is_sent_also_when_it_is_off() -> None:
    assert go.generate("t", "Hi", think=False, options={}).endswith(b'"options":{},"think":false}')
    assert go.generate("t", "Hi", think="high", options={}).endswith(b'"options":{},"think":"high"}')


def test_go_escapes_what_html_could_read() -> None:
    assert go.marshal({"é": "<a> & 'b'"}) == '{"é":"\\u003ca\\u003e \\u0026 \'b\'"}'.encode()
