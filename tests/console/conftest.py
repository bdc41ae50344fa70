"""The console in a headless Chromium, in front of simulators that play scripted answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.console.console_page import ConsolePage
from tests.console.locked import Locked, make_key
from tests.console.scripts import SCRIPT
from tests.support.processes import Process, frontend, worker

_SIMULATOR = ("--engine", "simulator", "--sim-running-limit", "2", "--sim-kv-tokens", "20000")
Open = Callable[..., ConsolePage]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures are kept: DROVER_SCREENSHOTS, else a temporary folder."""
    named = os.environ.get("DROVER_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def opened(chromium: Browser, screenshots: Path) -> Iterator[Open]:
    """Opens the console of a URL; afterwards the page must have had no faults."""
    pages: list[ConsolePage] = []

    def open_page(url: str, expected: str = "", **options: object) -> ConsolePage:
        page = ConsolePage(chromium, url, screenshots, expected, **options)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
        assert page.faults == []


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Process]]:
    """Two of one model and one of another."""
    folder = tmp_path_factory.mktemp("workers")
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT))
    with ExitStack() as started:
        yield [
            started.enter_context(
                worker(
                    folder / f"{number}.log",
                    *(*_SIMULATOR, "--model", name, "--sim-seed", seed, "--sim-script", str(script)),
                )
            )
            # Another seed, else the simulators of both models count as replicas.
            for number, (name, seed) in enumerate(
                [("qwen3:8b", "1"), ("qwen3:8b", "1"), ("llama3.1:70b", "2")]
            )
        ]


@pytest.fixture(scope="session")
def fleet(workers: list[Process], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a frontend without keys."""
    folder = tmp_path_factory.mktemp("open")
    with frontend(folder / "frontend.log", [each.address for each in workers]) as running:
        yield f"http://{running.address}"


@pytest.fixture(scope="session")
def locked(workers: list[Process], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """A frontend with a key of each role."""
    folder = tmp_path_factory.mktemp("locked")
    database = f"sqlite:///{folder / 'presets.sqlite3'}"
    keys = {role: make_key(database, f"{role}-key", role) for role in ("admin", "metrics", "user")}
    addresses = [each.address for each in workers]
    with frontend(folder / "frontend.log", addresses, "--database-url", database) as running:
        yield Locked(f"http://{running.address}", keys)
