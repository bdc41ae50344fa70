"""The page "Chat"."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.console.conftest import Open
from tests.console.scripts import MARKUP


def test_an_answer_streams_and_stops(fleet: str, opened: Open) -> None:
    page = opened(fleet)
    page.open_tab("Chat")
    page.ask("Tell it slowly")
    expect(page.answer).to_contain_text("It begins. It continues.")
    stop = page.page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    stop.click()
    expect(page.answer).to_contain_text("stopped")
    expect(stop).to_be_hidden()
    page.open_tab("Fleet")
    # The worker's place is free again.
    expect(page.tile("Running")).to_have_text("0 / 6")


def test_a_new_chat_begins_without_the_answer_that_it_stopped(fleet: str, opened: Open) -> None:
    page = opened(fleet)
    page.open_tab("Chat")
    page.ask("Tell it slowly")
    expect(page.answer).to_contain_text("It begins.")
    page.page.get_by_role("button", name="New chat").click()
    expect(page.page.get_by_role("button", name="Send")).to_be_visible()
    with page.page.expect_request("**/console/chat") as sent:
        page.ask("hello")
    assert sent.value.post_data_json["messages"] == [{"role": "user", "content": "hello"}]


def test_thinking_and_tool_calls_are_shown(fleet: str, opened: Open) -> None:
    page = opened(fleet)
    page.open_tab("Chat")
    page.ask("What is the weather?")
    expect(page.answer).to_contain_text("Let me look.")
    expect(page.answer).to_contain_text("Tool call get_weather")
    expect(page.answer.locator("pre")).to_have_text('{\n  "city": "<b>Bern</b>"\n}')
    page.answer.get_by_text("Thinking").click()
    expect(page.answer).to_contain_text("a tool has to be called")
    expect(page.answer.locator(".figures")).to_contain_text("tokens")
    page.ask("And now hello, in a few words, please")
    expect(page.answer.locator(".figures")).to_contain_text("a second")
    page.screenshot("chat")


def test_markup_from_a_model_stays_text(fleet: str, opened: Open) -> None:
    page = opened(fleet)
    page.open_tab("Chat")
    page.ask("Say markup <b id='made'>now</b>")
    expect(page.answer).to_contain_text(MARKUP)
    assert page.page.locator("#made").count() == 0


def test_an_error_in_the_stream_is_shown(fleet: str, opened: Open) -> None:
    page = opened(fleet)
    page.open_tab("Chat")
    page.ask("Now break")
    expect(page.page.get_by_role("alert").last).to_contain_text("the engine broke")
    expect(page.answer).to_contain_text("failed")
    page.page.get_by_text("System message and tools").click()
    page.page.get_by_label("Tools, as a JSON list").fill("[{]")
    page.ask("hello")
    expect(page.page.get_by_role("alert").last).to_contain_text("not valid JSON")
    page.page.get_by_role("button", name="New chat").click()
    expect(page.page.locator(".message")).to_have_count(0)
