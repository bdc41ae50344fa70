"""DiagnosticHeaders: their content, and names that are left out."""

from __future__ import annotations

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.api.wire import DiagnosticHeaders


def test_no_header_where_all_is_honoured() -> None:
    headers = DiagnosticHeaders.of(pb.Started(prompt_ids=[1]), [])

    assert headers == DiagnosticHeaders([], 0)
    assert headers.headers() == []


def test_the_workers_names_come_first_and_each_name_once() -> None:
    started = pb.Started(not_honoured=["seed", "typical_p"], truncated_tokens=12)

    assert DiagnosticHeaders.of(started, ["num_gpu", "seed"]).headers() == [
        (b"x-drover-not-honoured", b"seed, typical_p, num_gpu"),
        (b"x-drover-truncated-tokens", b"12"),
    ]


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a\r\nset-cookie: x", "größe", "x" * 65, "a\x00", "a\n"])
def test_names_with_other_characters_are_left_out(name: str) -> None:
    assert DiagnosticHeaders.of(pb.Started(not_honoured=[name, "seed"]), []).not_honoured == ["seed"]


def test_the_header_is_bounded() -> None:
    """Requests have named so much that clients refused to read the answer's headers."""
    names = [f"tools.{number:050}" for number in range(2_000)]

    ((_, value),) = DiagnosticHeaders.of(pb.Started(), names).headers()

    assert value.decode().split(", ") == names[:50]
