"""The fields of generate and chat.

| line | asserted by |
|---|---|
| model: echoed as sent | transcripts "chat upper", "chat no tag" |
| prompt, messages: empty loads | transcripts "generate load …", "chat load …" |
| suffix without the capability | transcript "generate suffix on a model without" |
| template, context | transcripts "generate template", "generate template bad", "generate context", "… context bad" |
| raw | transcripts "generate raw", "generate raw with system", "generate raw with template" |
| images: base64 only | transcripts "generate images bad", "chat image bad base64", "chat image data uri" |
| tools: capability, `[]` is none | transcripts "chat tools on a model without", "chat tools empty" |
| stream of chat: true | transcript "chat stream default" |
| format | transcripts "chat format …", "generate format json" |
| options: null | transcript "chat options null" |
| keep_alive, think | test_keep_alive and test_thinking |
| truncate, shift | test_streams_and_truncation |
| logprobs, top_logprobs | test_answer_fields; transcripts "chat top_logprobs 21", "… without logprobs" |
| _debug_render_only | transcripts "chat debug render", "generate debug render" |

Not here: image_count of _debug_render_only (no engine of these tests sees; llama.cpp and the simulator refuse images).
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

import httpx
import pytest

from tests.contract.ollama_requests import (
    INFERENCE,
    answered,
    ask,
    assert_refused,
    inference,
    lines_of,
    preset,
    rendered,
)


@pytest.mark.parametrize(
    "name", ["smol", "SMOL:latest", "library/smol", "registry.ollama.ai/library/smol:latest"]
)
@pytest.mark.parametrize("path", INFERENCE)
def test_model_is_echoed_as_sent(http: httpx.Client, path: str, name: str) -> None:
    options = {"num_predict": 1}
    whole = answered(ask(http, path, inference(path, model=name, options=options)))
    lines = lines_of(ask(http, path, inference(path, model=name, options=options, stream=True)))
    assert [each["model"] for each in [whole, *lines]] == [name] * (1 + len(lines))


def test_suffix_of_a_model_that_fills_in(http: httpx.Client) -> None:
    template = "<PRE>{{ .Prompt }}<SUF>{{ .Suffix }}<MID>"
    with preset(http, "filler", template=template) as name:
        prompt = rendered(http, "generate", {"model": name, "prompt": "a(", "suffix": ")b"})
        shown = answered(ask(http, "show", {"model": name}))
    assert prompt == "<PRE>a(<SUF>)b<MID>"
    assert "insert" in shown["capabilities"]


def test_system_replaces_the_models(http: httpx.Client) -> None:
    with preset(http, "own-system", system="THE MODEL'S") as name:
        body: dict[str, object] = {"model": name, "prompt": "x"}
        assert "THE MODEL'S" in rendered(http, "generate", body)
        prompt = rendered(http, "generate", {**body, "system": "THE REQUEST'S"})
    assert "THE REQUEST'S" in prompt
    assert "THE MODEL'S" not in prompt


def test_template_replaces_the_models(http: httpx.Client) -> None:
    body = {"model": "smol", "prompt": "x", "system": "s"}
    assert rendered(http, "generate", {**body, "template": "{{ .System }}|{{ .Prompt }}"}) == "s|x"


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{{ .Prompt", "template: :1: unclosed action"),
        ("{{ nope .Prompt }}", 'template: :1: function "nope" not defined'),
    ],
    ids=["template, unclosed", "template, unknown function"],
)
def test_a_template_that_cannot_be_parsed_is_500(http: httpx.Client, template: str, error: str) -> None:
    assert_refused(ask(http, "generate", {"model": "smol", "prompt": "x", "template": template}), 500, error)


def test_context_comes_before_the_prompt(http: httpx.Client) -> None:
    first = answered(ask(http, "generate", inference("generate")))["context"]
    second = answered(ask(http, "generate", inference("generate", context=first)))["context"]
    assert second[: len(first)] == first
    assert len(second) > len(first)


@pytest.mark.parametrize(
    "more",
    [{"template": "x"}, {"system": "x"}, {"context": [1]}, {"template": "x", "system": "x", "context": [1]}],
    ids=lambda more: f"raw with {'+'.join(more)}",
)
def test_raw_excludes(http: httpx.Client, more: dict[str, object]) -> None:
    body = {"model": "smol", "prompt": "x", "raw": True, **more}
    assert_refused(ask(http, "generate", body), 400, "raw mode does not support template, system, or context")


def test_raw_has_no_template_and_no_context(http: httpx.Client) -> None:
    body = {"model": "smol", "prompt": "The capital of France is", "raw": True}
    assert rendered(http, "generate", body) == "The capital of France is"
    lines = lines_of(ask(http, "generate", {**body, "options": {"num_predict": 1}}))
    assert "context" not in lines[-1]


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ("!", "illegal base64 data at input byte 0"),
        ("aGVsbG8", "illegal base64 data at input byte 4"),
        ("data:image/png;base64,aGVsbG8=", "illegal base64 data at input byte 4"),
    ],
    ids=["images, no base64", "images, without padding", "images, data URI"],
)
@pytest.mark.parametrize("path", INFERENCE)
def test_images_are_base64(http: httpx.Client, path: str, image: str, error: str) -> None:
    message = {"role": "user", "content": "x", "images": [image]}
    body = (
        {"model": "smol", "messages": [message]} if path == "chat" else {"model": "smol", "images": [image]}
    )
    assert_refused(ask(http, path, body), 400, error)


@pytest.mark.parametrize(
    ("name", "value", "go_type"),
    [
        ("prompt", [], "string"),
        ("suffix", 1, "string"),
        ("system", {}, "string"),
        ("template", True, "string"),
        ("context", {}, "[]int"),
        ("raw", "yes", "bool"),
        ("images", "x", "[]api.ImageData"),
    ],
    ids=lambda value: f"type of {value}" if isinstance(value, str) else "",
)
def test_types_of_generate(http: httpx.Client, name: str, value: object, go_type: str) -> None:
    assert_wrong_type(http, "generate", name, value, go_type)


@pytest.mark.parametrize(
    ("name", "value", "go_type"),
    [
        ("model", 1, "string"),
        ("stream", "false", "bool"),
        ("options", [], "map[string]interface {}"),
        ("truncate", 0, "bool"),
        ("shift", "x", "bool"),
        ("logprobs", 5, "bool"),
        ("top_logprobs", "5", "int"),
        ("_debug_render_only", 1, "bool"),
    ],
    ids=lambda value: f"type of {value}" if isinstance(value, str) else "",
)
@pytest.mark.parametrize("path", INFERENCE)
def test_types_of_both(http: httpx.Client, path: str, name: str, value: object, go_type: str) -> None:
    assert_wrong_type(http, path, name, value, go_type)


def assert_wrong_type(http: httpx.Client, path: str, name: str, value: object, go_type: str) -> None:
    kinds: dict[type, str] = {list: "array", dict: "object", int: "number", bool: "bool", str: "string"}
    struct = "ChatRequest" if path == "chat" else "GenerateRequest"
    assert_refused(
        ask(http, path, {"model": "smol", name: value}),
        400,
        f"json: cannot unmarshal {kinds[type(value)]} into Go struct field {struct}.{name} of type {go_type}",
    )


def test_stream_of_generate_is_true(http: httpx.Client) -> None:
    lines = lines_of(ask(http, "generate", inference("generate", stream=...)))
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("form", "quoted"),
    [
        ("yaml", r'"\"yaml\""'),
        (5, '"5"'),
        (["json"], r'"[\"json\"]"'),
        (True, '"true"'),
    ],
    ids=["format, a word", "format, a number", "format, a list", "format, a bool"],
)
@pytest.mark.parametrize("path", INFERENCE)
def test_another_format_is_500(http: httpx.Client, path: str, form: object, quoted: str) -> None:
    assert_refused(
        ask(http, path, inference(path, format=form)),
        500,
        f'invalid format: {quoted}; expected "json" or a valid JSON Schema object',
    )


@pytest.mark.parametrize("form", ["", None], ids=["format, empty", "format, null"])
@pytest.mark.parametrize("path", INFERENCE)
def test_no_format(http: httpx.Client, path: str, form: object) -> None:
    assert answered(ask(http, path, inference(path, format=form)))["done_reason"] == "length"


@pytest.mark.parametrize("number", [-1, 21, 1000], ids="top_logprobs {}".format)
@pytest.mark.parametrize("path", INFERENCE)
def test_top_logprobs_are_checked_before_the_model_is_looked_up(
    http: httpx.Client, path: str, number: int
) -> None:
    assert_refused(
        ask(http, path, {"model": "nope", "top_logprobs": number}),
        400,
        "top_logprobs must be between 0 and 20",
    )


@pytest.mark.parametrize("path", INFERENCE)
def test_ignored_fields(http: httpx.Client, path: str) -> None:
    body = inference(path, width="wide", height=[], steps={})
    assert answered(ask(http, path, body))["done_reason"] == "length"
