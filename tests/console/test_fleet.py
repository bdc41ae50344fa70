"""The page "Fleet": live numbers, states, themes and sizes."""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.console.conftest import Open
from tests.console.console_page import PHONE
from tests.support.processes import frontend, worker

_CONTRASTS = """selectors => selectors.flatMap(selector => [...document.querySelectorAll(selector)].slice(0, 3)
  .filter(element => element.checkVisibility()).map(element => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    let behind = element;
    const filled = one => { const c = channels(getComputedStyle(one).backgroundColor); return c.length < 4 || c[3] > 0; };
    while (behind.parentElement && !filled(behind)) behind = behind.parentElement;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(channels(getComputedStyle(behind).backgroundColor))];
    return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  }))"""  # noqa: E501
_DRAW = """async state => {
  const { Fleet } = await import("/console/fleet.js");
  const page = new Fleet();
  document.querySelector("main").replaceChildren(page.element);
  page.draw(state);
  const costs = [];
  for (let number = 1; number <= 20; number++) {
    for (const worker of state.workers) worker.running = number % 8;
    state.points[""].at(-1)[1] = number;
    const began = performance.now();
    page.draw(state);
    document.body.getBoundingClientRect();
    costs.push(performance.now() - began);
  }
  return Math.min(...costs);
}"""
_TEXTS = [
    "h2",
    ".tile dt",
    ".tile dd",
    "td",
    "th",
    ".badge",
    "td small",
    ".legend",
    ".axis-y span",
    ".link",
    ".tabs button",
]


def _chat(url: str, number: int, model: str = "qwen3:8b", text: str = "hello", tokens: int = 40) -> int:
    body = {
        "model": model,
        "stream": False,
        "messages": [{"role": "user", "content": f"{text} {number}"}],
        "options": {"num_predict": tokens},
    }
    headers = {"x-api-key": f"client {number % 3}"}
    return httpx.post(f"{url}/api/chat", json=body, headers=headers, timeout=30).status_code


def test_numbers_are_live(fleet: str, opened: Open) -> None:
    page = opened(fleet)
    expect(page.page.get_by_role("status")).to_have_text("live")
    expect(page.tile("Workers ready")).to_have_text("3 / 3")
    with ThreadPoolExecutor(12) as clients:
        # Two workers have two places each: most of them wait.
        sent = clients.map(lambda number: _chat(fleet, number, text="hold"), range(12))
        expect(page.tile("Running")).to_have_text(re.compile("[1-6] / 6"))
        expect(page.card("Queue").locator("tbody tr").first).to_contain_text("key ")
        assert set(sent) == {200}
    expect(page.tile("Requests a minute")).to_have_text(re.compile(r"^(1[2-9]|[2-9]\d)$"))
    expect(page.tile("TTFT p99")).to_have_text(re.compile(r"\d m?s"))
    expect(page.card("Queue")).to_contain_text("No request waits")
    for line in page.page.locator(".plot path.line.a").all():
        assert re.search("M.*L", line.get_attribute("d") or "")
    row = page.card("Models").locator("tr", has_text="qwen3:8b")
    expect(row).to_contain_text("2 / 2")
    expect(page.card("Workers").locator("tbody tr")).to_have_count(3)
    page.page.locator("#plot-model").select_option("llama3.1:70b")
    expect(page.page.get_by_text("Nothing in the last 15 minutes.").first).to_be_visible()


def test_a_lost_worker_and_its_moves_are_shown(tmp_path: Path, opened: Open) -> None:
    # Each answer takes five seconds, of which the page gets an update every second.
    lengths = ("--sim-answer-tokens-min", "100", "--sim-answer-tokens-max", "120")
    flags = ("--engine", "simulator", "--model", "sim", "--sim-decode-step-base-ms", "50", *lengths)
    with (
        worker(tmp_path / "one.log", *flags) as one,
        worker(tmp_path / "two.log", *flags) as two,
        frontend(tmp_path / "frontend.log", [one.address, two.address], "--policy", "round_robin") as running,
        ThreadPoolExecutor(4) as clients,
    ):
        url = f"http://{running.address}"
        page = opened(url)
        expect(page.tile("Workers ready")).to_have_text("2 / 2")
        sent = clients.map(lambda number: _chat(url, number, "sim", tokens=100), range(4))
        expect(page.tile("Running")).to_have_text(re.compile("^4 "))
        one.signal(signal.SIGKILL)
        expect(page.tile("Workers ready")).to_have_text("1 / 2")
        expect(page.card("Workers").locator("tr", has_text=one.address)).to_contain_text("lost")
        assert set(sent) == {200}
        moves = page.card("Moves and errors")
        expect(moves).to_contain_text("worker is lost")
        expect(moves.locator("tr", has_text="failover").first).to_contain_text(f"to {two.address}")
        httpx.post(f"{url}/api/chat", json={"model": "sim", "messages": [], "format": "<b id='made'>"})
        httpx.post(f"{url}/api/chat", json={"model": "<b id='made'>", "messages": []})
        expect(moves.locator("tr", has_text="error").first).to_be_visible()
        assert page.page.locator("#made").count() == 0
        page.screenshot("failover", whole=True)


def test_without_a_worker_the_page_says_what_to_do(tmp_path: Path, opened: Open) -> None:
    with frontend(tmp_path / "frontend.log", ["127.0.0.1:9"], ready=False) as running:
        page = opened(f"http://{running.address}")
        expect(page.card("Models")).to_contain_text("Start a worker")
        expect(page.card("Workers")).to_contain_text("not reached yet")
        page.open_tab("Chat")
        expect(page.page.get_by_role("alert").last).to_contain_text("No model can chat now")


def test_a_lost_connection_is_said_and_comes_back(fleet: str, tmp_path: Path, opened: Open) -> None:
    with frontend(tmp_path / "one.log", ["127.0.0.1:9"], ready=False) as first:
        page = opened(f"http://{first.address}", expected="ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED")
        link = page.page.get_by_role("status")
        expect(link).to_have_text("live")
        first.stop()
        expect(link).to_have_text("connection lost, retrying")
        page.screenshot("lost")
        with frontend(tmp_path / "two.log", ["127.0.0.1:9"], ready=False, address=first.address):
            expect(link).to_have_text("live")


def test_an_open_page_does_not_delay_the_end(tmp_path: Path, opened: Open) -> None:
    with frontend(tmp_path / "one.log", ["127.0.0.1:9"], ready=False) as running:
        page = opened(f"http://{running.address}", expected="ERR_")
        expect(page.page.get_by_role("status")).to_have_text("live")
        running.popen.terminate()
        assert running.wait(5) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast_in_both_schemes(fleet: str, opened: Open, scheme: str) -> None:
    page = opened(fleet, color_scheme=scheme)
    _chat(fleet, 1)
    expect(page.tile("Workers ready")).to_have_text("3 / 3")
    found = page.page.evaluate(_CONTRASTS, _TEXTS)
    assert {selector for selector, _ in found} >= {"h2", ".tile dd", "td", ".badge"}
    assert [each for each in found if each[1] < 4.5] == []
    background = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background))) < 60) == (scheme == "dark")
    page.screenshot(f"fleet-{scheme}")


@pytest.mark.parametrize("tab", ["Fleet", "Chat"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(fleet: str, opened: Open, tab: str) -> None:
    page = opened(fleet, viewport=PHONE, has_touch=True, is_mobile=True)
    expect(page.tile("Workers ready")).to_have_text("3 / 3")
    page.open_tab(tab)
    assert page.too_wide() == []
    page.screenshot(f"phone-{tab.lower()}", whole=True)


def test_everything_is_reached_by_keyboard(fleet: str, opened: Open) -> None:
    page = opened(fleet)
    expect(page.tile("Workers ready")).to_have_text("3 / 3")
    keyboard = page.page.keyboard
    keyboard.press("Tab")
    expect(page.page.get_by_text("Skip to the content")).to_be_focused()
    keyboard.press("Tab")
    expect(page.page.get_by_role("tab", name="Fleet")).to_be_focused()
    keyboard.press("ArrowRight")
    expect(page.page.get_by_role("tab", name="Chat")).to_have_attribute("aria-selected", "true")
    keyboard.press("Home")
    expect(page.page.get_by_role("tab", name="Fleet")).to_be_focused()
    keyboard.press("Tab")
    expect(page.page.locator("#plot-model")).to_be_focused()


def test_64_workers_are_drawn_in_time(fleet: str, opened: Open) -> None:
    page = opened(fleet, viewport=PHONE)
    expect(page.tile("Workers ready")).to_have_text("3 / 3")
    milliseconds = page.page.evaluate(_DRAW, _large_state())
    expect(page.card("Workers").locator("tbody tr")).to_have_count(64)
    assert page.too_wide() == []
    # There is one update a second; about 15 ms where nothing else runs.
    assert milliseconds < 150


def test_worker_hosts_are_shown_with_what_loads(fleet: str, opened: Open) -> None:
    page = opened(fleet, viewport=PHONE)
    expect(page.tile("Workers ready")).to_have_text("3 / 3")
    page.page.evaluate(_DRAW, _large_state() | {"hosts": _hosts()})
    rows = page.card("Worker hosts").locator("tbody tr")
    expect(rows.first).to_contain_text("12 models in its store")
    expect(rows.first).to_contain_text("loading for 5.0 s")
    expect(rows.first).to_contain_text("2.3 GiB")
    expect(rows.first).to_contain_text("a-model-that-waits:latest")
    expect(rows.last).to_contain_text("lost")
    assert page.too_wide() == []
    page.screenshot("phone-hosts", whole=True)
    page.page.evaluate(_DRAW, _large_state())
    expect(page.card("Worker hosts")).to_be_hidden()


def _hosts() -> list[dict[str, object]]:
    since = 1_700_000_000 + 5 * 179 - 5
    model = {"model": "a-model-with-a-long-name:70b-instruct-q4_k_m", "bytes": 2.3 * 2**30, "since": since}
    return [
        {
            "address": "a-host-with-a-long-name.example:50061",
            "state": "ready",
            "stored": 12,
            "models": [{**model, "state": "loading"}, {**model, "state": "ready"}],
            "next": ["a-model-that-waits:latest"],
            "memory_used": 2**32,
            "memory": 2**33,
            "disk_free": 2**35,
        },
        {"address": "10.0.0.9:50061", "state": "lost", "stored": 3},
    ]


def _large_state() -> dict[str, object]:
    load = {"running": 8, "places": 8, "waiting": 3, "kv_used": 9000, "kv_total": 20000, "hit_rate": 0.4}
    figures = {**load, "tokens_per_second": 812.5, "queued": 12, "ttft_p50": 0.2, "ttft_p99": 1.4}
    counts = {"requests_per_minute": 1000, "moves": 2, "errors": 3, "connections": 70, "frontends": 2}
    names = [f"a-model-with-a-long-name-{number}:70b-instruct-q4_k_m" for number in range(8)]
    points = [[1_700_000_000 + 5 * n, n % 90, 300, 0.2, 0.9, 80, 0, 0, 60, n % 20] for n in range(180)]
    return {
        "summary": {**figures, **counts, "workers": 64, "ready": 64, "draining": False},
        "models": [{"name": name, **figures, "workers": 8, "ready": 8, "context": 32768} for name in names],
        "workers": [
            {
                "address": f"10.0.0.{n}:50051",
                "model": names[n % 8],
                "state": "ready",
                "engine": "sglang",
                **figures,
            }
            for n in range(64)
        ],
        "queue": [
            {"model": names[n % 8], "position": n, "client": "alice", "priority": 0, "seconds": 1.5}
            for n in range(50)
        ],
        "incidents": [
            {
                "kind": "error",
                "model": names[0],
                "worker": "w",
                "client": "c",
                "text": f"error {n}",
                "status": 500,
            }
            | {"times": 2, "last": 1_700_000_000}
            for n in range(50)
        ],
        "points": dict.fromkeys(["", *names], points),
    }
