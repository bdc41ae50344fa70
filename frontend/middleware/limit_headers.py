"""Headers about a key's limits, where SDKs of the path's dialect read them: OpenAI's and Anthropic's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from drover.errors import RateLimited
from frontend.access.limits.admission import LimitState, LimitStates

Headers = list[tuple[bytes, bytes]]

_MS_PER_SECOND, _MS_PER_MINUTE, _MS_PER_HOUR = 1000, 60_000, 3_600_000
# As long as OpenAI's SDK waits.
_LONGEST_WAIT_SECONDS = 120
_ANTHROPIC = "/v1/messages"
# Ollama's route, whose clients read none.
_OLLAMA = frozenset({"/v1/systemone"})


def limit_headers(path: str, states: LimitStates) -> Headers:
    """Of an answer, also of a refusal. A limit that the key does not have has no headers."""
    if not path.startswith("/v1/") or path in _OLLAMA:
        return []
    if path.startswith(_ANTHROPIC):
        return _anthropic(states)
    return [
        *_openai(b"requests", states.requests),
        *_openai(b"tokens", states.tokens),
    ]


def refused_headers(path: str, error: RateLimited) -> Headers:
    """In addition to Retry-After, which has whole seconds: both SDKs prefer milliseconds. OpenAI's gives up
    when the wait is too long; Anthropic's would sleep for hours without a message, unless it is asked not to.
    """
    if not path.startswith("/v1/") or path in _OLLAMA:
        return []
    headers = [(b"retry-after-ms", b"%d" % max(1, math.ceil(error.wait_seconds * _MS_PER_SECOND)))]
    if error.wait_seconds > _LONGEST_WAIT_SECONDS:
        headers.append((b"x-should-retry", b"false"))
    return headers


def _openai(name: bytes, state: LimitState | None) -> Headers:
    if state is None:
        return []
    return [
        (b"x-ratelimit-limit-" + name, b"%d" % state.limit),
        (b"x-ratelimit-remaining-" + name, b"%d" % state.remaining),
        (b"x-ratelimit-reset-" + name, duration(state.reset_us).encode()),
    ]


def _anthropic(states: LimitStates) -> Headers:
    """One limit holds for the tokens of prompts and of answers together: it is what is left of either."""
    now_us = states.now_us
    named: Sequence[tuple[bytes, LimitState | None]] = (
        (b"requests", states.requests),
        (b"tokens", states.tokens),
        (b"input-tokens", states.tokens),
        (b"output-tokens", states.tokens),
    )
    return [
        (b"anthropic-ratelimit-%b-%b" % (name, field), value)
        for name, state in named
        if state is not None
        for field, value in (
            (b"limit", b"%d" % state.limit),
            (b"remaining", b"%d" % state.remaining),
            (b"reset", _rfc3339(now_us + state.reset_us).encode()),
        )
    ]


def _rfc3339(unix_us: int) -> str:
    """In whole seconds, rounded up."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=-(-unix_us // 1_000_000))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(microseconds: int) -> str:
    """As OpenAI writes them: `120ms`, `1.5s`, `6m0s`, `1h0m0s`. Rounded up to milliseconds."""
    ms = -(-microseconds // 1000)
    if 0 < ms < _MS_PER_SECOND:
        return f"{ms}ms"
    hours, ms = divmod(ms, _MS_PER_HOUR)
    minutes, ms = divmod(ms, _MS_PER_MINUTE)
    seconds = f"{ms // _MS_PER_SECOND}{f'.{ms % _MS_PER_SECOND:03d}'.rstrip('0').rstrip('.')}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds
