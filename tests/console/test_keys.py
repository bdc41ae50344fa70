"""The console where keys are on: login, roles and logout."""

from __future__ import annotations

import httpx
from playwright.sync_api import expect

from tests.console.conftest import Open
from tests.console.locked import Locked

_WRONG = "drv_0123456789abcdef_" + "A" * 43


def test_an_admin_logs_in_sees_keys_and_logs_out(locked: Locked, opened: Open) -> None:
    # The browser reports the answer to a wrong key itself.
    page = opened(locked.url, expected="status of 401")
    expect(page.page.get_by_role("heading", name="Log in")).to_be_visible()
    page.screenshot("login")
    page.log_in(_WRONG)
    expect(page.page.get_by_role("alert")).to_contain_text("the key is not valid here")
    page.log_in(locked.keys["admin"])
    expect(page.tile("Workers ready")).to_have_text("3 / 3")
    expect(page.page.locator("#who")).to_contain_text("admin-key (admin)")
    assert page.page.evaluate("document.cookie") == ""
    [cookie] = page.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/console")
    assert locked.keys["admin"] not in str(cookie)
    page.open_tab("Keys")
    expect(page.card("Keys").locator("tbody tr")).to_have_count(3)
    page.screenshot("keys")
    page.open_tab("Chat")
    page.ask("Say markup")
    expect(page.answer.locator(".figures")).to_contain_text("tokens")
    page.open_tab("Usage")
    used = page.card("Usage").locator("tbody tr", has_text="admin-key")
    expect(used.first).to_contain_text("qwen3:8b")
    page.screenshot("usage")
    page.page.get_by_role("button", name="Log out").click()
    expect(page.page.get_by_role("heading", name="Log in")).to_be_visible()
    assert page.page.context.cookies() == []


def test_a_user_sees_no_others_and_no_addresses(locked: Locked, opened: Open) -> None:
    refused = httpx.post(
        f"{locked.url}/api/chat",
        json={"model": "<i>", "messages": []},
        headers={"x-api-key": locked.keys["admin"]},
    )
    assert refused.status_code == 400
    page = opened(locked.url)
    page.log_in(locked.keys["user"])
    expect(page.tile("Workers ready")).to_have_text("3 / 3")
    expect(page.card("Workers")).to_contain_text("worker 1")
    text = page.page.locator("main").inner_text()
    assert "127.0.0.1:" not in text
    assert "admin-key" not in text
    expect(page.card("Moves and errors")).to_contain_text("No moves and no errors")
    expect(page.page.get_by_role("tab", name="Keys")).to_have_count(0)
    page.open_tab("Chat")
    page.ask("Say markup")
    expect(page.answer).to_contain_text("bold")


def test_metrics_sees_the_fleet_without_a_chat(locked: Locked, opened: Open) -> None:
    page = opened(locked.url)
    page.log_in(locked.keys["metrics"])
    expect(page.card("Workers")).to_contain_text("127.0.0.1:")
    expect(page.page.get_by_role("tab", name="Chat")).to_have_count(0)
    expect(page.page.get_by_role("tab", name="Keys")).to_have_count(0)
