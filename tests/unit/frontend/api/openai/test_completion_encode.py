"""Encoding of completions, streamed and not."""

from __future__ import annotations

import json

from drover.v1 import engine_pb2 as pb
from frontend.api.openai.completion_encode import CompletionEncoder
from tests.unit.frontend.api.events import content, done, joined, logprob, started


def test_chunks_before_the_last_have_a_usage_of_zeros() -> None:
    encoder = CompletionEncoder("m", 1, 1, include_usage=True)
    data = encoder.lines(joined(started(1), content("Hi"), done(pb.Done.LENGTH)))

    *chunks, last = [frame.removeprefix("data: ") for frame in data.decode().strip().split("\n\n")]
    first, end, usage = [json.loads(chunk) for chunk in chunks]

    assert last == "[DONE]"
    assert list(first) == ["id", "object", "created", "choices", "model", "system_fingerprint", "usage"]
    assert first["choices"] == [{"text": "Hi", "index": 0, "finish_reason": None}]
    assert end["choices"] == [{"text": "", "index": 0, "finish_reason": "length"}]
    assert first["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 24)


def test_usage_counts_each_prompt_once() -> None:
    encoder = CompletionEncoder("m", 4, 2, include_usage=False)

    answer = json.loads(encoder.body(*[[content(text), done()] for text in "abcd"]))

    assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
        (3, "d"),
    ]
    assert answer["usage"]["prompt_tokens"] == 32
    assert answer["usage"]["completion_tokens"] == 32


def test_text_offsets_continue_through_a_stream() -> None:
    encoder = CompletionEncoder("m", 1, 1, include_usage=False)
    events = [
        content("Hi", logprobs=(logprob(b"Hi", -0.5, (b"Hi", -0.5), (b"Ho", -1.5)),)),
        content("!", logprobs=(logprob(b"!", -0.25),)),
    ]

    one, other = [
        json.loads(encoder.lines(event).removeprefix(b"data: "))["choices"][0]["logprobs"] for event in events
    ]

    assert one == {
        "tokens": ["Hi"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"Hi": -0.5, "Ho": -1.5}],
        "text_offset": [0],
    }
    assert other["text_offset"] == [2]
