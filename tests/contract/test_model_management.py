"""pull, push, create, copy, delete and blobs.

| line | asserted by |
|---|---|
| push without a name, pull of no name | transcripts "push none", "pull bad name" |
| create: steps, layers, errors | transcripts "create from", "create from created, no stream", "create no from", "create bad name", "create bad template" |
| copy, delete, blobs | transcripts "copy …", "delete …", "head blob …", "post blob …" |
| several licences, parameters over the parent's | transcripts "show created", "show second" |

Not here: lines of downloads, uploads and conversions (`pulling model`, `removing unused layers`, `pushing …`, `parsing
GGUF`, `converting model`, `quantizing …`): weights are where workers are and never move; that weights in `files` are
refused with a reason is tested, `adapters` are in tests/system/test_adapters.py. Upstream's `unsupported quantization
type` and `unknown type` are of such files. `username`, `password` and `insecure` of pull mean nothing.
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

import hashlib
import json
import re

import httpx
import pytest

from tests.contract.ollama_requests import (
    answered,
    ask,
    chat_message,
    delete,
    inference,
    lines_of,
    preset,
    rendered,
    text_of,
)

_ZEROS = f"sha256:{'0' * 64}"
_NO_FILE = "pull model manifest: file does not exist"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize(
    "body", [{"model": "smol"}, {"model": "", "name": "SMOL:latest"}], ids="pull {}".format
)
def test_a_pull_of_what_is_there(http: httpx.Client, body: dict[str, object]) -> None:
    first, layer, *ends = lines_of(ask(http, "pull", {**body, "insecure": True, "username": "x"}))
    digest = layer["digest"].removeprefix("sha256:")
    assert first == {"status": "pulling manifest"}
    assert list(layer) == ["status", "digest", "total", "completed"]
    assert layer["status"] == f"pulling {digest[:12]}"
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert layer["completed"] == layer["total"] > 0
    assert ends == [{"status": text} for text in ("verifying sha256 digest", "writing manifest", "success")]


@pytest.mark.parametrize(
    ("path", "body"),
    [("pull", {"model": "smol"}), ("create", {"model": "whole", "from": "smol"})],
    ids=["pull, stream false", "create, stream false"],
)
def test_only_the_last_line_without_a_stream(http: httpx.Client, path: str, body: dict[str, object]) -> None:
    answer = ask(http, path, {**body, "stream": False})
    assert (answer.status_code, answer.text) == (200, '{"status":"success"}')
    assert answer.headers["content-type"] == "application/json"
    delete(http, "whole")


def test_a_pull_of_what_is_not_there(http: httpx.Client) -> None:
    first, second = lines_of(ask(http, "pull", {"model": "nope"}))
    whole = ask(http, "pull", {"model": "nope", "stream": False})
    assert first == {"status": "pulling manifest"}
    assert list(second) == list(whole.json()) == ["error"]
    assert second["error"].startswith(_NO_FILE)
    assert whole.json()["error"].startswith(_NO_FILE)
    assert whole.status_code == 500


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("pull", {"model": "a b"}, "invalid model name"),
        ("pull", {"model": ""}, "invalid model name"),
        ("push", {}, "model is required"),
        ("push", {"model": "", "name": ""}, "model is required"),
        ("push", {"model": "a b"}, "invalid model name"),
    ],
    ids=lambda value: f"{value}" if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("stream", [True, False])
def test_transfers_of_no_name(
    http: httpx.Client, path: str, body: dict[str, object], error: str, stream: bool
) -> None:
    answer = ask(http, path, {**body, "stream": stream})
    assert (answer.status_code, answer.json()) == (400, {"error": error})


@pytest.mark.parametrize(
    ("body", "begin"),
    [
        pytest.param({"model": "smol"}, "unauthorized: ", id="push"),
        pytest.param({"name": "smol"}, "unauthorized: ", id="push by name"),
        pytest.param({"model": "nope"}, "model 'nope:latest' not found", id="push of what is not there"),
    ],
)
def test_push(http: httpx.Client, body: dict[str, object], begin: str) -> None:
    first, second = lines_of(ask(http, "push", body))
    whole = ask(http, "push", {**body, "stream": False})
    assert first == {"status": "retrieving manifest"}
    assert second["error"].startswith(begin)
    assert (whole.status_code, whole.json()["error"][: len(begin)]) == (500, begin)


@pytest.mark.parametrize(
    ("body", "status", "begin"),
    [
        ({"model": "a b", "from": "smol"}, 400, "invalid model name"),
        ({"model": "", "name": "", "from": "smol"}, 400, "invalid model name"),
        ({"model": "t", "from": "a b"}, 400, "invalid model name"),
        ({"model": "t"}, 400, "neither 'from' or 'files' was specified"),
        ({"model": "t", "files": {}}, 400, "no files provided to convert"),
        ({"model": "t", "files": {"/etc/x": _ZEROS}}, 400, "file path must be relative"),
        ({"model": "t", "files": {"../x": _ZEROS}}, 400, "file path must be relative"),
        ({"model": "t", "files": {"x": "sha256:1"}}, 400, "invalid digest format"),
        ({"model": "t", "files": {"x.gguf": _ZEROS}}, 400, "this server does not take weights"),
        ({"model": "t", "from": "smol", "adapters": {"x": _ZEROS}}, 400, "adapters: x is no file of an"),
        (
            {"model": "t", "from": "smol", "adapters": {"x.gguf": _ZEROS, "y.gguf": _ZEROS}},
            400,
            "only one adapter is currently supported",
        ),
        ({"model": "t", "from": "smol", "template": "{{ .X"}, 400, "template error: template: :1: unclosed"),
        (
            {"model": "t", "from": "smol", "quantize": "Q4_0"},
            500,
            "quantization is only supported for F16, BF16",
        ),
        (
            {"model": "t", "from": "smol", "quantization": "x"},
            500,
            "quantization is only supported for F16, BF16",
        ),
        ({"model": "smol", "from": "smol"}, 400, "cannot overwrite 'smol:latest'"),
    ],
    ids=lambda value: (
        f"create {json.dumps(value)[:60].replace(_ZEROS, 'zeros')}" if isinstance(value, dict) else ""
    ),
)
@pytest.mark.parametrize("stream", [True, False])
def test_create_refuses(
    http: httpx.Client, body: dict[str, object], status: int, begin: str, stream: bool
) -> None:
    answer = ask(http, "create", {**body, "stream": stream})
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert answer.json()["error"].startswith(begin)


def test_create_of_what_is_not_there_pulls(http: httpx.Client) -> None:
    first, second = lines_of(ask(http, "create", {"model": "t", "from": "nope"}))
    assert first == {"status": "pulling manifest"}
    assert second["error"].startswith(_NO_FILE)


def test_statuses(http: httpx.Client) -> None:
    body = {"model": "", "name": "steps", "from": "smol", "system": "S", "parameters": {"top_k": 1}}
    steps = [line["status"] for line in lines_of(ask(http, "create", body))]
    assert re.fullmatch("using existing layer sha256:[0-9a-f]{64}", steps[0])
    assert [step.rpartition(" ")[0] for step in steps[1:-2]] == ["creating new layer"] * 2
    assert steps[-2:] == ["writing manifest", "success"]
    assert delete(http, "steps").status_code == 200


def test_from_inherits(http: httpx.Client) -> None:
    parent = {
        "system": "PARENT", "license": "L1", "messages": chat_message("q"),
        "template": "{{ .System }}+{{ .Prompt }}",
        "parameters": {"temperature": 0, "num_predict": 2},
    }  # fmt: skip
    child = {
        "system": "CHILD",
        "license": ["L2"],
        "parameters": {"num_predict": 1},
        "messages": chat_message("q2"),
    }
    with preset(http, "parent", **parent), preset(http, "child", **{"from": "parent"}, **child) as name:
        shown = answered(ask(http, "show", {"model": name}))
        answer = answered(ask(http, "generate", inference("generate", model=name, options={})))
    assert (shown["system"], shown["license"], shown["template"]) == ("CHILD", "L1\nL2", parent["template"])
    assert shown["messages"] == chat_message("q2")
    assert shown["details"]["parent_model"] == "parent:latest"
    assert "num_predict                    1" in shown["parameters"].split("\n")
    assert "temperature                    0" in shown["parameters"].split("\n")
    assert answer["eval_count"] == 1


def test_what_was_created_is_used(http: httpx.Client) -> None:
    with preset(http, "used", system="SYS", template="{{ .System }}|{{ .Prompt }}") as name:
        assert rendered(http, "generate", {"model": name, "prompt": "x"}) == "SYS|x"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"source": "nope", "destination": "x"}, 404, 'model "nope" not found'),
        ({"source": "a b", "destination": "x"}, 400, 'source "a b" is invalid'),
        ({"source": "smol", "destination": "a b"}, 400, 'destination "a b" is invalid'),
        ({"source": "smol"}, 400, 'destination "" is invalid'),
        ({"destination": "x"}, 400, 'source "" is invalid'),
        ({}, 400, 'source "" is invalid'),
    ],
    ids=lambda value: f"copy {value}" if isinstance(value, dict) else "",
)
def test_copy_refuses(http: httpx.Client, body: dict[str, object], status: int, error: str) -> None:
    answer = ask(http, "copy", body)
    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_a_copy_answers_as_its_source(http: httpx.Client) -> None:
    copied = ask(http, "copy", {"source": "SMOL", "destination": "ns/Copy:v2"})
    assert (copied.status_code, copied.content) == (200, b"")
    answer = answered(ask(http, "chat", inference("chat", model="ns/copy:V2")))
    assert (text_of(answer), answer["model"]) == ("The capital of", "ns/copy:V2")
    gone = delete(http, "NS/copy:v2")
    assert (gone.status_code, gone.content) == (200, b"")
    assert ask(http, "chat", inference("chat", model="ns/copy:v2")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("", 400, "missing request body"),
        ('{"model":"nope"}', 404, "model 'nope' not found"),
        ('{"model":"","name":"Nope:v1"}', 404, "model 'Nope:v1' not found"),
        ('{"model":"a b"}', 400, 'name "a b" is invalid'),
        ("{}", 400, "model is required"),
    ],
    ids="delete {}".format,
)
def test_delete_refuses(http: httpx.Client, body: str, status: int, error: str) -> None:
    answer = http.request("DELETE", "/api/delete", content=body)
    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_blobs(http: httpx.Client) -> None:
    data = b"some weights"
    path = f"/api/blobs/{_digest(data)}"
    steps = [
        http.head(path), http.post(path, content=data), http.post(path, content=data), http.head(path),
        http.head(path.replace(":", "-")),
    ]  # fmt: skip
    assert [step.status_code for step in steps] == [404, 201, 200, 200, 200]
    assert [step.content for step in steps] == [b""] * 5


@pytest.mark.parametrize(
    "digest",
    ["xyz", f"sha256:{'0' * 63}", f"sha256:{'0' * 65}", f"sha256:{'g' * 64}", f"md5:{'0' * 64}", "0" * 64],
    ids="digest {:.12}".format,
)
@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_what_is_no_digest(http: httpx.Client, method: str, digest: str) -> None:
    answer = http.request(method, f"/api/blobs/{digest}", content=b"x")
    assert answer.status_code == 400
    assert answer.text == ("" if method == "HEAD" else '{"error":"invalid digest format"}')


def test_a_blob_that_is_another(http: httpx.Client) -> None:
    answer = http.post(f"/api/blobs/{_ZEROS}", content=b"x")
    assert answer.status_code == 400
    assert answer.json() == {"error": f'digest mismatch, expected "{_ZEROS}", got "{_digest(b"x")}"'}
    assert http.head(f"/api/blobs/{_ZEROS}").status_code == 404
