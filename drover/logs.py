"""Logs of a process: one JSON object per line, or one readable line where a person watches."""

from __future__ import annotations

import logging
import sys
import time
from functools import lru_cache
from typing import Literal

import orjson

from drover.redaction import redacted

LogFormat = Literal["auto", "json", "text"]
Field = str | int | float | bool | None | list[str]


# Longest text of a field: names and addresses come from clients, in bodies of megabytes.
_MAX_CHARACTERS = 4096


def configure(log_format: LogFormat, level: str) -> None:
    """Send the logs of all loggers to standard error. `auto` is text on a terminal, JSON elsewhere."""
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_TextFormatter() if as_text else _JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    # No format here shows these.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # It logs a traceback for each message that it cannot parse; callers log that themselves.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)


def event(logger: logging.Logger, level: int, message: str, **fields: Field) -> None:
    """Log one structured line. `message`: constant text; `fields`: values, of which long texts are cut."""
    if logger.isEnabledFor(level):
        for name, value in fields.items():
            if isinstance(value, str) and len(value) > _MAX_CHARACTERS:
                fields[name] = f"{value[:_MAX_CHARACTERS]} ..."
        # Unlike `logger.log`, without a look-up of the caller's file and line, which no format here shows.
        record = logger.makeRecord(logger.name, level, "", 0, message, (), None, extra={"fields": fields})
        logger.handle(record)


def _fields(record: logging.LogRecord) -> dict[str, Field]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _timestamp(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


@lru_cache(maxsize=1)
def _second(unix_seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_seconds))


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Field] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redacted(orjson.dumps(line, default=str).decode())


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        line = (
            f"{_timestamp(record)[11:-1]} {record.levelname.lower():7} {record.name}: {record.getMessage()}"
        )
        if fields:
            line = f"{line}  {fields}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redacted(line)
