"""One open console: what a person sees and does, and what must not happen behind it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Request, expect

_TOO_WIDE = """() => document.scrollingElement.scrollWidth <= window.innerWidth ? [] :
  [...document.querySelectorAll("body *")]
    .filter(element => element.getBoundingClientRect().right > window.innerWidth + 0.5)
    .map(element => element.outerHTML.slice(0, 80))"""
_SECONDS = 15_000
_DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


class ConsolePage:
    """`expected`: faults that the test causes; `options`: of the browser's context, like `color_scheme`."""

    def __init__(
        self, browser: Browser, url: str, screenshots: Path, expected: str = "", **options: object
    ) -> None:
        self.faults: list[str] = []
        self._expected = re.compile(expected) if expected else None
        self._origin = urlsplit(url).netloc
        self._screenshots = screenshots
        self._context = browser.new_context(**{"viewport": _DESKTOP, **options})
        self._context.set_default_timeout(_SECONDS)
        expect.set_options(timeout=_SECONDS)
        self.page = self._context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        self.page.on("request", self._requested)
        self.page.goto(f"{url}/console")

    def close(self) -> None:
        self._context.close()

    def screenshot(self, name: str, whole: bool = False) -> None:
        self.page.screenshot(path=self._screenshots / f"{name}.png", full_page=whole)

    def tile(self, name: str) -> Locator:
        """The figure with that title."""
        return self.page.locator(".tile", has=self.page.get_by_text(name, exact=True)).locator("dd")

    def too_wide(self) -> list[str]:
        """What reaches beyond the right edge of a page that can be scrolled sideways."""
        found: list[str] = self.page.evaluate(_TOO_WIDE)
        return found

    def card(self, title: str) -> Locator:
        heading = self.page.get_by_role("heading", name=title, exact=True, level=2)
        return self.page.locator("section.card", has=heading)

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def ask(self, text: str, model: str = "qwen3:8b") -> None:
        """Send a message in the chat."""
        self.page.locator("#chat-model").select_option(model)
        self.page.get_by_label("Message", exact=True).fill(text)
        self.page.get_by_label("Message", exact=True).press("Enter")

    @property
    def answer(self) -> Locator:
        """The newest answer of the chat."""
        return self.page.locator(".message.assistant").last

    def log_in(self, key: str) -> None:
        self.page.get_by_label("Key", exact=True).fill(key)
        self.page.get_by_role("button", name="Log in").click()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self._is_expected(message.text):
            self.faults.append(f"{message.type}: {message.text}")

    def _is_expected(self, text: str) -> bool:
        return self._expected is not None and self._expected.search(text) is not None

    def _requested(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self._origin:
            self.faults.append(f"request to another origin: {request.url}")
