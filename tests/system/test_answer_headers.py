"""Response headers about options without effect and truncated prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.processes import Stack, stack
from tests.support.waiting import until

SIMULATOR = ("--engine", "simulator", "--model", "sim", "--context-length", "128")
NOT_HONOURED = "x-drover-not-honoured"
TRUNCATED = "x-drover-truncated-tokens"
LONG = [{"role": "user", "content": "word " * 40}] * 5
BODIES: dict[str, dict[str, object]] = {
    "/api/chat": {"model": "sim", "messages": LONG},
    "/api/generate": {"model": "sim", "prompt": "word " * 200},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("small"), SIMULATOR) as running:
        yield running


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", sorted(BODIES))
async def test_headers_and_the_log_agree(small: Stack, path: str, stream: bool) -> None:
    request_id = f"honest-{path.removeprefix('/api/')}-{stream}"
    options = {"repeat_penalty": 1.5, "num_gpu": 99, "use_mmap": None, "num_predict": 1}
    async with httpx.AsyncClient(base_url=small.url) as http:
        answer = await http.post(
            path,
            json={**BODIES[path], "stream": stream, "options": options},
            headers={"x-request-id": request_id},
        )

    assert answer.status_code == 200
    assert answer.headers[NOT_HONOURED] == "repeat_penalty, num_gpu"
    assert int(answer.headers[TRUNCATED]) > 0
    await until(lambda: bool(_logged(small, request_id)), 2, "the frontend logs it")
    (logged,) = _logged(small, request_id)
    assert logged["not_honoured"] == ["repeat_penalty", "num_gpu"]
    assert str(logged["truncated_tokens"]) == answer.headers[TRUNCATED]


@pytest.mark.parametrize("stream", [True, False])
def test_an_ordinary_response_has_no_diagnostic_headers(small: Stack, stream: bool) -> None:
    answer = httpx.post(
        f"{small.url}/api/chat",
        json={
            "model": "sim",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": stream,
            "options": {"temperature": 0, "seed": 1, "num_predict": 1, "num_thread": None},
        },
    )

    assert answer.status_code == 200
    assert not {NOT_HONOURED, TRUNCATED} & set(answer.headers)


def test_held_back_text_makes_no_empty_line(tmp_path: Path) -> None:
    """Characters split over tokens and beginnings of stop texts are shown with the rest, or at the end."""
    events = [{"text": "🐑"}, *({"text": each} for each in ("a", "b", "x", "🚀🌾")), {"text": "stop"}]
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"match": "#go", "events": events}]))
    flags = (*SIMULATOR, "--sim-script", str(script), "--sim-token-bytes", "1")
    with stack(tmp_path, flags) as running:
        answer = httpx.post(
            f"{running.url}/api/generate",
            json={"model": "sim", "prompt": "#go", "options": {"stop": ["abc", "stop"]}},
        )
        plain = httpx.post(
            f"{running.url}/api/generate",
            json={"model": "sim", "prompt": "tell", "raw": True, "options": {"num_predict": 60}},
        )
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(line["response"] for line in lines) == "🐑abx🚀🌾"
    assert all(line["response"] for line in lines[:-1])
    assert all(json.loads(line)["response"] for line in plain.text.splitlines()[:-1])


def _logged(running: Stack, request_id: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in running.frontend.log_text().splitlines() if line.endswith("}")]
    return [fields for fields in lines if fields.get("request_id") == request_id]
