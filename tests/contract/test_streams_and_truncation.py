"""The shape of streams, and prompts that are assembled and truncated.

| line | asserted by |
|---|---|
| deltas that are not empty, token by token | test_ollama_client::test_chat_streams_the_same_text_token_by_token; test_answer_headers::test_held_back_text_makes_no_empty_line |
| closing the connection cancels | test_cancellation, in every phase |
| no heartbeat | test_rules_of_every_route::test_a_stream_is_chunked_lines |
| truncate false | transcript "chat truncate false too long" |
| a long chat is cut | transcript "chat long, truncated" |
| num_ctx is 4 at least | transcript "chat options {"num_ctx": 1, …}" |
| truncation is reported | test_answer_headers::test_headers_and_the_log_agree |

Not here: calls in the chunk that is done (of templates that upstream parses natively; ours come before it), num_ctx at
least 2048 for multimodal models (no engine of these tests sees).
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

import httpx
import pytest

from tests.contract.ollama_requests import (
    INFERENCE,
    answered,
    ask,
    assert_refused,
    chat_message,
    inference,
    lines_of,
    preset,
    rendered,
    text_of,
)

_TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
_LETTERS = "a b c d e f g h i j k l m n o p q r s t u v w x y z"
_NO_ROOM = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, "
    "adjust the context length in settings, or use a model with a longer context length"
)


@pytest.mark.parametrize("path", INFERENCE)
def test_chunks_are_deltas_and_not_done(http: httpx.Client, path: str) -> None:
    *chunks, _ = lines_of(ask(http, path, inference(path, "#think", "thinker", stream=True, options={})))
    for chunk in chunks:
        part = chunk.get("message", chunk)
        assert chunk["done"] is False
        assert (text_of(chunk) == "") is ("thinking" in part)
        assert text_of(chunk) or part["thinking"]


@pytest.mark.parametrize("path", INFERENCE)
def test_the_last_chunk_is_done_and_empty(http: httpx.Client, path: str) -> None:
    lines = lines_of(ask(http, path, inference(path, stream=True)))
    assert [line["done"] for line in lines] == [False, False, False, True]
    assert (text_of(lines[-1]), lines[-1]["done_reason"]) == ("", "length")
    assert not any("done_reason" in line or "eval_count" in line for line in lines[:-1])


def test_calls_are_whole_and_counted(http: httpx.Client) -> None:
    body = inference("chat", "#calls", "thinker", tools=_TOOLS, options={})
    whole = answered(ask(http, "chat", body))
    lines = lines_of(ask(http, "chat", {**body, "stream": True}))

    streamed = [call for line in lines for call in line["message"].get("tool_calls", [])]
    for calls in (streamed, whole["message"]["tool_calls"]):
        assert [call["function"]["index"] for call in calls] == [0, 1]
        assert [call["function"]["arguments"] for call in calls] == [{"zip": 1, "city": "Paris"}, {}]


def test_without_tools_nothing_is_taken_for_a_call(http: httpx.Client) -> None:
    options = {"temperature": 0, "num_predict": 8}
    body = inference("chat", "Hi", "gguf-thinker", options=options)
    for answer in (answered(ask(http, "chat", body)), *lines_of(ask(http, "chat", {**body, "stream": True}))):
        assert "tool_calls" not in answer["message"]
    assert "<tool_call>" in answered(ask(http, "chat", body))["message"]["content"]


@pytest.mark.parametrize("path", INFERENCE)
def test_a_whole_answer_is_the_chunks_put_together(http: httpx.Client, path: str) -> None:
    body = inference(path, "#think", "thinker", logprobs=True, options={"temperature": 0})
    whole = answered(ask(http, path, body))
    lines = lines_of(ask(http, path, {**body, "stream": True}))

    thoughts = [line.get("message", line).get("thinking", "") for line in [*lines, whole]]
    assert "".join(thoughts[:-1]) == thoughts[-1] == "Let me."
    assert "".join(text_of(line) for line in lines) == text_of(whole) == "Fine."
    assert [each for line in lines for each in line.get("logprobs", [])] == whole["logprobs"]
    assert lines[-1]["eval_count"] == whole["eval_count"]


def test_the_models_system_and_examples_come_first(http: httpx.Client) -> None:
    examples = [*chat_message("q"), *chat_message("a", "assistant")]
    with preset(http, "with-examples", system="SYSTEM", messages=examples) as name:
        plain = rendered(http, "chat", {"model": name, "messages": chat_message("hello")})
        own = rendered(
            http,
            "chat",
            {"model": name, "messages": [*chat_message("OWN", "system"), *chat_message("hello")]},
        )
    order = [plain.index(text) for text in ("system\nSYSTEM", "user\nq", "assistant\na", "user\nhello")]
    assert order == sorted(order)
    assert "SYSTEM" not in own
    assert own.index("user\nq") < own.index("system\nOWN")


def test_the_oldest_messages_go_and_system_and_the_last_stay(http: httpx.Client) -> None:
    history = [
        message
        for at in range(20)
        for message in (*chat_message(f"question {at}"), *chat_message("w " * 9, "assistant"))
    ]
    messages = [*chat_message("SYSTEM", "system"), *history, *chat_message("last")]
    prompt = rendered(http, "chat", {"model": "smol", "messages": messages, "options": {"num_ctx": 128}})
    assert prompt.startswith("<|im_start|>system\nSYSTEM<|im_end|>\n")
    assert prompt.endswith("<|im_start|>user\nlast<|im_end|>\n<|im_start|>assistant\n")
    assert "question 19" in prompt
    assert "question 0<" not in prompt
    assert prompt.count("question") < 8


@pytest.mark.parametrize("num_keep", [0, 3], ids="num_keep {}".format)
def test_a_prompt_that_is_still_too_long_loses_its_middle(http: httpx.Client, num_keep: int) -> None:
    options = {"num_ctx": 12, "num_keep": num_keep}
    prompt = rendered(
        http, "generate", {"model": "smol", "prompt": _LETTERS, "raw": True, "options": options}
    )
    assert prompt.endswith(" x y z")
    assert prompt.startswith("a b c ") is (num_keep == 3)
    assert " m " not in prompt


@pytest.mark.parametrize("path", INFERENCE)
def test_without_shift_a_prompt_that_is_too_long_is_refused(http: httpx.Client, path: str) -> None:
    options = {"num_ctx": 16, "num_predict": 1}
    assert_refused(ask(http, path, inference(path, _LETTERS, shift=False, options=options)), 400, _NO_ROOM)


@pytest.mark.parametrize(("shift", "tokens"), [(False, 7), (True, 20)], ids=["shift false", "shift true"])
def test_an_answer_at_the_end_of_the_window(http: httpx.Client, shift: bool, tokens: int) -> None:
    options = {"temperature": 0, "num_ctx": 32, "num_predict": 20}
    question = "Tell me a very long story about the wind and the sea, the sky."
    answer = answered(ask(http, "chat", inference("chat", question, shift=shift, options=options)))
    assert answer["done_reason"] == "length"
    assert answer["prompt_eval_count"] == 25
    assert answer["eval_count"] == tokens


def test_num_predict_is_ten_windows_at_most(http: httpx.Client) -> None:
    options = {"temperature": 0, "num_ctx": 4, "num_predict": 1000, "stop": []}
    body = {"model": "smol", "prompt": "1", "raw": True, "stream": False, "options": options}
    answer = answered(ask(http, "generate", body))
    assert (answer["done_reason"], answer["eval_count"]) == ("length", 40)
