"""Prompts that are longer than their window."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.errors import ContextExceeded
from drover.v1 import engine_pb2 as pb
from engine_worker.prompt.window import Window, fit_ids, fit_messages, fit_rendered


def _window(size: int, truncate: bool = True, num_keep: int = 0) -> Window:
    return Window(size, truncate, shift=True, num_keep=num_keep)


def _of(**budget: int | bool) -> Window:
    return Window.of(pb.GenerateRequest(context=pb.ContextBudget(**budget)), 100)  # type: ignore[arg-type]  # mypy cannot type fields in **


def test_the_window_that_a_request_asks_for() -> None:
    assert _of() == Window(100, True, True, 0)
    assert _of(num_ctx=50, truncate=False, shift=False, num_keep=4) == Window(50, False, False, 4)
    assert _of(num_ctx=1000).size == 100
    assert _of(num_ctx=0).size == 4
    assert Window.of(pb.GenerateRequest(), 100) == _of()


def test_a_prompt_that_leaves_a_token_for_the_answer_fits() -> None:
    assert fit_ids(list(range(9)), _window(10, truncate=False)).ids == list(range(9))
    assert fit_ids(list(range(9)), _window(10)).truncated_tokens == 0


def test_a_longer_prompt_loses_its_middle() -> None:
    fitted = fit_ids(list(range(20)), _window(16, num_keep=3))

    assert fitted.ids == [0, 1, 2, *range(13, 20)]
    assert fitted.truncated_tokens == 10


@pytest.mark.parametrize(
    ("size", "num_keep", "length"),
    [(256, 4, 130), (512, 4, 258), (256, 24, 140), (257, 4, 131), (4, 4, 3), (4, 2, 3), (256, 9999, 255)],
)
def test_a_longer_prompt_is_cut_to_what_ollama_keeps(size: int, num_keep: int, length: int) -> None:
    fitted = fit_ids(list(range(2000)), _window(size, num_keep=num_keep))

    assert len(fitted.ids) == length
    kept = min(num_keep, size - 1)
    assert fitted.ids == [*range(kept), *range(2000 - length + kept, 2000)]


def test_without_truncation_a_longer_prompt_is_refused_with_both_numbers() -> None:
    with pytest.raises(ContextExceeded, match=r"has 20 tokens.* is 16 tokens"):
        fit_ids(list(range(20)), _window(16, truncate=False))


async def test_without_shift_only_whole_messages_go() -> None:
    window = Window(16, truncate=True, shift=False, num_keep=0)

    assert (await fit_messages(_chat("a" * 14, "bb"), window, _tokens)).truncated_tokens > 0
    with pytest.raises(ContextExceeded, match="the prompt is longer than the context length"):
        fit_ids(list(range(20)), window)


@given(st.integers(1, 200), st.integers(4, 100), st.integers(0, 300))
def test_a_fitted_prompt_fits_and_keeps_its_end(length: int, size: int, num_keep: int) -> None:
    ids = list(range(length))

    fitted = fit_ids(ids, _window(size, num_keep=num_keep))

    assert 1 <= len(fitted.ids) <= size - 1
    assert fitted.ids == sorted(fitted.ids)
    assert fitted.truncated_tokens == length - len(fitted.ids)
    kept = min(num_keep, size - 1) if fitted.truncated_tokens else 0
    assert fitted.ids[:kept] == ids[:kept]
    if kept < size - 1:
        assert fitted.ids[-1] == ids[-1]


async def _tokens(messages: Sequence[pb.Message]) -> list[int]:
    """A token for each character, and one for each message."""
    return [0, *(ord(character) for message in messages for character in message.content + "|")]


def _chat(*contents: str) -> list[pb.Message]:
    """A text that begins with `S` is a system message."""
    roles = ["system" if text.startswith("S") else "user" for text in contents]
    return [pb.Message(role=role, content=text) for role, text in zip(roles, contents, strict=True)]


@pytest.mark.parametrize(
    ("size", "rendered", "dropped"),
    [
        (100, "S|aaaa|bbbb|cccc|", 0),
        (19, "S|aaaa|bbbb|cccc|", 0),
        (18, "S|bbbb|cccc|", 5),
        (14, "S|bbbb|cccc|", 5),
        (13, "S|cccc|", 10),
        (9, "S|cccc|", 10),
    ],
)
async def test_the_oldest_messages_go_first(size: int, rendered: str, dropped: int) -> None:
    fitted = await fit_messages(_chat("S", "aaaa", "bbbb", "cccc"), _window(size), _tokens)

    assert "".join(map(chr, fitted.ids[1:])) == rendered
    assert fitted.truncated_tokens == dropped


async def test_a_last_message_that_is_too_long_loses_its_beginning() -> None:
    fitted = await fit_messages(_chat("S", "a", "bcdefghijkl"), _window(8), _tokens)

    assert len(fitted.ids) == 4
    assert "".join(map(chr, fitted.ids)).endswith("jkl|")
    assert fitted.is_cut
    assert [message.content for message in fitted.messages] == ["S", "bcdefghijkl"]


async def test_without_truncation_a_longer_chat_is_refused() -> None:
    with pytest.raises(ContextExceeded):
        await fit_messages(_chat("aaaa", "bbbb"), _window(8, truncate=False), _tokens)


async def test_a_long_chat_is_rendered_a_few_times_only() -> None:
    calls = 0

    async def counted(messages: Sequence[pb.Message]) -> list[int]:
        nonlocal calls
        calls += 1
        return await _tokens(messages)

    await fit_messages(_chat(*["message"] * 1000), _window(100), counted)

    assert calls <= 12


@given(st.lists(st.text(alphabet="Sab", max_size=6), min_size=1, max_size=12), st.integers(4, 60))
async def test_kept_messages_fit_and_none_is_dropped_without_need(contents: list[str], size: int) -> None:
    chat = _chat(*contents)
    fitted = await fit_messages(chat, _window(size), _tokens)
    droppable = [at for at, message in enumerate(chat[:-1]) if message.role != "system"]

    choices = []
    for count in range(len(droppable) + 1):
        kept = [message for at, message in enumerate(chat) if at not in droppable[:count]]
        choices.append(await _tokens(kept))
    fitting = [ids for ids in choices if len(ids) <= size - 1]

    assert fitted.ids == (fitting[0] if fitting else fit_ids(choices[-1], _window(size)).ids)
    assert fitted.is_cut == (await _tokens(fitted.messages) != fitted.ids) == (not fitting)
    missing = len(choices[0]) - len(fitted.ids)
    if len(chat) <= size:
        assert fitted.truncated_tokens == missing
    else:
        # The oldest were not even rendered; their tokens are estimated.
        assert missing <= fitted.truncated_tokens <= 2 * missing


@given(st.lists(st.text(alphabet="Sab", max_size=6), min_size=1, max_size=12), st.integers(4, 60))
async def test_the_payload_is_that_of_the_chosen_rendering(contents: list[str], size: int) -> None:
    async def render(messages: Sequence[pb.Message]) -> tuple[list[int], list[str]]:
        return await _tokens(messages), [message.content for message in messages]

    fitted = await fit_rendered(_chat(*contents), _window(size), render)

    assert fitted.payload == [message.content for message in fitted.messages]


async def test_messages_that_are_not_even_rendered_count_by_their_length() -> None:
    chat = _chat(*["long enough"] * 100)
    fitted = await fit_messages(chat, _window(50), _tokens)

    exact = len(await _tokens(chat)) - len(fitted.ids)
    assert fitted.truncated_tokens == pytest.approx(exact, rel=0.01)
