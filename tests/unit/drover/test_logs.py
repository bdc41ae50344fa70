"""Log lines."""

from __future__ import annotations

import logging

import pytest

from drover import logs


def test_long_texts_of_requests_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("drover.test")

    with caplog.at_level(logging.INFO):
        logs.event(logger, logging.INFO, "request", model="m" * 10_000_000, path="/api/chat", status=400)

    fields = caplog.records[-1].__dict__["fields"]
    assert fields["model"] == "m" * 4096 + " ..."
    assert (fields["path"], fields["status"]) == ("/api/chat", 400)
