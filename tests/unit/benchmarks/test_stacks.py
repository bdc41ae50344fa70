from __future__ import annotations

import pytest

from benchmarks.stacks import functions, owner, shares

MAIN = "<module> (engine_worker/__main__.py:39);_serve (engine_worker/__main__.py:35)"
MANAGER = "handle_loop (sglang/srt/managers/tokenizer_manager.py:2500)"
FEED = "feed (engine_worker/engines/sglang/output.py:90)"
NEXT = "_stream_one_response (sglang/srt/managers/tokenizer_manager.py:1950)"
LOAD = "load (engine_worker/engines/sglang/upstream/process.py:151)"
SEND = "GenerateStream (engine_worker/service.py:80)"


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        (f"{MAIN};{MANAGER}", "engine's Python"),
        (f"{MAIN};{MANAGER};wait_for (asyncio/tasks.py:476)", "engine's Python"),
        (f"{MAIN};{SEND};{FEED};loads (orjson.py:1)", "our adapter"),
        (f"{MAIN};{SEND};write (grpc/aio/_server.py:10)", "our relay"),
        (f"{MAIN};read (aiohttp/streams.py:5)", "HTTP client"),
        (f"{MAIN};run_until_complete (uvloop/loop.pyx:1500)", "the rest"),
        ("_poll (threading.py:1)", "the rest"),
        (f"{MAIN};{SEND};{FEED};{NEXT};wait (asyncio/locks.py:213)", "engine's Python"),
        (f"{MAIN};{LOAD};_read_slot (sglang/srt/managers/load_snapshot.py:504)", "our adapter"),
        ("run (sglang/srt/utils/watchdog.py:45)", "engine's Python"),
        (f"{MAIN};recv (/cache/drover/lib/python3.11/site-packages/zmq/_future.py:3)", "engine's Python"),
        (f"{MAIN};dumps (/cache/drover/lib/python3.11/site-packages/pydantic/main.py:3)", "the rest"),
    ],
)
def test_a_sample_is_of_the_innermost_frame_that_has_an_owner(stack: str, expected: str) -> None:
    assert owner(stack.split(";")) == expected


def test_shares_are_of_all_samples_and_functions_without_lines() -> None:
    text = "\n".join(
        [
            f"{MAIN};{MANAGER} 5",
            f"{MAIN};{SEND};{FEED} 2",
            f"{MAIN};{SEND};{FEED.replace('90', '91')} 1",
            f"{MAIN} 2",
        ]
    )
    assert shares(text)["engine's Python"] == 0.5
    assert shares(text)["the rest"] == 0.2
    assert functions(text, "our adapter") == [("feed (engine_worker/engines/sglang/output.py)", 0.3)]
