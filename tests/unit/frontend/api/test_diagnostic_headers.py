"""What headers say of a request, and what cannot get into them."""

from __future__ import annotations

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.api.wire import DiagnosticHeaders


def test_nothing_to_say_is_no_header() -> None:
    headers = DiagnosticHeaders.of(pb.Started(prompt_ids=[1]), [])

    assert headers == DiagnosticHeaders([], 0)
    assert headers.headers() == []


def test_what_the_worker_names_comes_before_what_the_dialect_ignores_and_each_once() -> None:
    started = pb.Started(not_honoured=["seed", "typical_p"], truncated_tokens=12)

    assert DiagnosticHeaders.of(started, ["num_gpu", "seed"]).headers() == [
        (b"x-drover-not-honoured", b"seed, typical_p, num_gpu"),
        (b"x-drover-truncated-tokens", b"12"),
    ]


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a\r\nset-cookie: x", "größe", "x" * 65, "a\x00", "a\n"])
def test_what_is_no_plain_name_is_left_out(name: str) -> None:
    assert DiagnosticHeaders.of(pb.Started(not_honoured=[name, "seed"]), []).not_honoured == ["seed"]


def test_a_header_stays_short() -> None:
    """Requests have named so much that clients refused to read the answer's headers."""
    names = [f"tools.{number:050}" for number in range(2_000)]

    ((_, value),) = DiagnosticHeaders.of(pb.Started(), names).headers()

    assert value.decode().split(", ") == names[:50]
