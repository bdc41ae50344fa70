"""Log lines."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from drover import logs


def test_long_texts_of_requests_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("drover.test")

    with caplog.at_level(logging.INFO):
        logs.event(logger, logging.INFO, "request", model="m" * 10_000_000, path="/api/chat", status=400)

    fields = caplog.records[-1].__dict__["fields"]
    assert fields["model"] == "m" * 4096 + " ..."
    assert (fields["path"], fields["status"]) == ("/api/chat", 400)


# In a process of its own, since it configures all loggers.
_PROGRAM = """
import logging, sys
from drover import logs
logs.configure(sys.argv[1], "info")
logger = logging.getLogger("drover.test")
logs.event(logger, logging.INFO, "request", status=200, path="/api/chat")
logger.debug("not logged")
try:
    raise ValueError("it broke")
except ValueError:
    logger.exception("unhandled")
"""


def _logged(log_format: str) -> list[str]:
    command = [sys.executable, "-c", _PROGRAM, log_format]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()


def test_a_line_of_text_has_the_fields_after_the_message() -> None:
    first, second, *traceback = _logged("text")
    assert first.split(" ", 1)[1] == "info    drover.test: request  status=200 path=/api/chat"
    assert second.split(" ", 1)[1] == "error   drover.test: unhandled"
    assert traceback[-1] == "ValueError: it broke"


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_a_line_of_json_has_the_fields_next_to_the_message(log_format: str) -> None:
    first, second = map(json.loads, _logged(log_format))
    assert (first["level"], first["logger"], first["message"]) == ("info", "drover.test", "request")
    assert (first["status"], first["path"]) == (200, "/api/chat")
    assert second["exception"].endswith("ValueError: it broke")
