"""SGLang's and vLLM's extensions through the official openai SDK, whose `extra_body` carries them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.clients.fleet import HARD_QUESTION, SMOL, THINKER, THOUGHTS, Fleet

_ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
_HEADER = "x-drover-not-honoured"


@pytest.fixture
def client(fleet: Fleet) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{fleet.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    ("extra", "pattern"),
    [
        ({"regex": "(Paris|London)!"}, "(Paris|London)!"),
        ({"ebnf": 'root ::= "<" [A-Z]{2,4} ">"'}, "<[A-Z]{2,4}>"),
        ({"guided_choice": ["Paris (city)", "a|b"]}, r"Paris \(city\)|a\|b"),
        ({"structured_outputs": {"choice": ["red", "blue"]}}, "red|blue"),
        (
            {
                "response_format": {
                    "type": "structural_tag",
                    "format": {"type": "const_string", "value": "Hm"},
                }
            },
            "Hm",
        ),
        ({"structured_outputs": {"grammar": 'root ::= "(" root ")" | "x"'}}, r"\(*x\)*"),
        (
            {"guided_json": {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}},
            r"\{.*1.*\}",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_constraints(client: OpenAI, extra: dict[str, object], pattern: str, stream: bool) -> None:
    if stream:
        with client.chat.completions.create(
            model=SMOL, messages=_ASKED, temperature=0, max_tokens=40, extra_body=extra, stream=True
        ) as chunks:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        answer = client.chat.completions.create(
            model=SMOL, messages=_ASKED, temperature=0, max_tokens=40, extra_body=extra
        )
        text = answer.choices[0].message.content or ""
    assert re.fullmatch(pattern, text, re.DOTALL), text


def test_completions_take_them_too(client: OpenAI) -> None:
    answer = client.completions.create(
        model=SMOL, prompt="Say a number.", max_tokens=20, temperature=0, extra_body={"regex": "[0-9]{2}"}
    )
    assert re.fullmatch("[0-9]{2}", answer.choices[0].text)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"regex": "(?=a)a"}, "look-around"),
        ({"ebnf": "root ::= ???"}, "EBNF, line 1"),
        ({"regex": "a", "ebnf": 'root ::= "a"'}, "only one constraint"),
        ({"repetition_penalty": 3}, r"repetition_penalty must be in \(0, 2\]"),
        ({"custom_logit_processor": "80"}, "custom_logit_processor is refused"),
        ({"lora_path": "/tmp/adapter"}, "lora_path is refused"),
        ({"chat_template_kwargs": {"messages": []}}, "'messages' cannot be set"),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_come_before_the_answer(
    client: OpenAI, extra: dict[str, object], words: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client.chat.completions.create(model=SMOL, messages=_ASKED, extra_body=extra, stream=stream)


def test_what_an_engine_lacks_is_named(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=SMOL, messages=_ASKED, max_tokens=3, extra_body={"min_tokens": 2, "stop_regex": "x", "top_k": 5}
    )
    assert raw.headers[_HEADER].split(", ") == ["min_tokens", "stop_regex"]


def test_the_stop_text_stays_if_asked_for(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=SMOL, messages=_ASKED, temperature=0, max_tokens=12)
    stop = (whole.choices[0].message.content or "").strip()[4:9]
    kept = client.chat.completions.create(
        model=SMOL,
        messages=_ASKED,
        temperature=0,
        max_tokens=12,
        stop=stop,
        extra_body={"no_stop_trim": True},
    )
    assert (kept.choices[0].message.content or "").endswith(stop)


def test_a_message_is_continued(client: OpenAI) -> None:
    begun: list[ChatCompletionMessageParam] = [*_ASKED, {"role": "assistant", "content": "The capital of"}]
    more = {
        "continue_final_message": True,
        "add_generation_prompt": False,
        "regex": " France is [A-Z][a-z]{2,6}",
    }
    answer = client.chat.completions.create(model=SMOL, messages=begun, temperature=0, extra_body=more)
    assert re.fullmatch(" France is [A-Z][a-z]{2,6}", answer.choices[0].message.content or "")


def test_reasoning_is_shown_as_asked_for(client: OpenAI) -> None:
    hard: list[ChatCompletionMessageParam] = [{"role": "user", "content": HARD_QUESTION}]

    def content(**extra: object) -> str:
        answer = client.chat.completions.create(model=THINKER, messages=hard, extra_body=extra)
        return answer.choices[0].message.content or ""

    assert content() == "It is 391."
    assert content(separate_reasoning=False) == f"<think>\n{THOUGHTS}\n</think>\n\nIt is 391."
    assert content(include_reasoning=False, separate_reasoning=False) == "It is 391."
    with client.chat.completions.create(
        model=THINKER, messages=hard, extra_body={"separate_reasoning": True}, stream=True
    ) as chunks:
        deltas = [chunk.choices[0].delta.model_dump() for chunk in chunks]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == THOUGHTS
