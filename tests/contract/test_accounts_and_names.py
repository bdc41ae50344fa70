"""Routes about ollama.com, and the names of models.

| line | asserted by |
|---|---|
| case, tag left out, echo | transcripts "chat upper", "chat no tag", "show upper case"; test_request_fields |
| invalid names | transcripts "chat bad name", "show path" |
| source suffix | test_order_of_errors, test_show_tags_ps_version |

Not here: hf.co names that were pulled (nothing is pulled; such a name is as any other host's).
"""

from __future__ import annotations

import httpx
import pytest

from tests.contract.ollama_requests import JSON, answered, ask, assert_refused, inference, preset

_OFF = "ollama cloud is disabled: web {} is unavailable"
_INVALID = "invalid model name"


def test_status(http: httpx.Client) -> None:
    answer = http.get("/api/status")
    assert (answer.status_code, answer.text) == (200, '{"cloud":{"disabled":true,"source":"config"}}')
    assert answer.headers["content-type"] == JSON


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        pytest.param("POST", "me", 401, "unauthorized", id="me"),
        pytest.param("POST", "signout", 401, "you are not currently signed in", id="signout"),
        pytest.param("DELETE", "user/keys/a", 401, "you are not currently signed in", id="user keys"),
        pytest.param("POST", "experimental/web_search", 403, _OFF.format("search"), id="web_search"),
        pytest.param("POST", "experimental/web_fetch", 403, _OFF.format("fetch"), id="web_fetch"),
    ],
)
@pytest.mark.parametrize("body", ["", "{}", '{"query":"x","url":"https://x.example"}', "["])
def test_nothing_is_passed_on(
    http: httpx.Client, method: str, path: str, status: int, error: str, body: str
) -> None:
    assert_refused(http.request(method, f"/api/{path}", content=body), status, error)


def test_recommendations(http: httpx.Client) -> None:
    answer = http.get("/api/experimental/model-recommendations")
    assert (answer.status_code, answer.text) == (200, '{"recommendations":[]}')


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a b", id="a space"),
        pytest.param("-a", id="begins with -"),
        pytest.param(".a", id="begins with ."),
        pytest.param("a!", id="another character"),
        pytest.param("é", id="a letter with an accent"),
        pytest.param("a.b/c", id=". in a namespace"),
        pytest.param("h/a.b/c", id=". in a namespace with a host"),
        pytest.param("a:b:c", id=": in a tag"),
        pytest.param("a:", id="empty tag"),
        pytest.param(":b", id="empty model"),
        pytest.param("/a", id="empty namespace"),
        pytest.param("//a", id="empty host"),
        pytest.param("a/", id="empty model behind a namespace"),
        pytest.param("a/b/c/d", id="four segments"),
        pytest.param("a" * 81, id="model of 81"),
        pytest.param(f"{'a' * 81}/b", id="namespace of 81"),
        pytest.param(f"a:{'b' * 81}", id="tag of 81"),
        pytest.param(f"{'a' * 351}/b/c", id="host of 351"),
    ],
)
def test_invalid(http: httpx.Client, name: str) -> None:
    assert_refused(ask(http, "show", {"model": name}), 400, _INVALID)
    assert_refused(ask(http, "chat", inference("chat", model=name)), 400, _INVALID)


# As sent, and as lists show it.
_SHOWN = [
    ("nope", "nope:latest"),
    ("Nope:V1", "Nope:V1"),
    ("_a-b_c.d:_e-f.g", "_a-b_c.d:_e-f.g"),
    ("library/nope", "nope:latest"),
    ("registry.ollama.ai/library/nope:x", "nope:x"),
    ("ns/nope", "ns/nope:latest"),
    ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B:latest"),
    ("hf.co/Org/Repo:Q4_K_M", "hf.co/Org/Repo:Q4_K_M"),
    ("localhost:5000/ns/nope", "localhost:5000/ns/nope:latest"),
    ("hf.co/library/nope", "hf.co/library/nope:latest"),
    ("a" * 80, f"{'a' * 80}:latest"),
    (f"{'a' * 350}/b/c", f"{'a' * 350}/b/c:latest"),
]


@pytest.mark.parametrize(("name", "shown"), _SHOWN, ids=[f"shown {name[:40]}" for name, _ in _SHOWN])
def test_valid_and_shown(http: httpx.Client, name: str, shown: str) -> None:
    assert_refused(ask(http, "show", {"model": name}), 404, f"model '{shown}' not found")
    assert_refused(ask(http, "chat", inference("chat", model=name)), 404, f"model '{name}' not found")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("Thinker", "thinker:latest", id="segments, one"),
        pytest.param("ORG/thinker:v1", "Org/Thinker:V1", id="segments, two"),
        pytest.param("Registry.Ollama.AI/Org/thinker:v1", "Org/Thinker:V1", id="segments, three"),
    ],
)
def test_case_is_kept_and_does_not_count(http: httpx.Client, name: str, shown: str) -> None:
    assert f"# FROM {shown}\n" in answered(ask(http, "show", {"model": name}))["modelfile"]
    options = {"num_predict": 1}
    assert (
        answered(ask(http, "chat", inference("chat", model=name, options=options, think=False)))["model"]
        == name
    )


def test_a_preset_keeps_the_case_that_it_was_first_written_in(http: httpx.Client) -> None:
    with preset(http, "MyModel:V1"):
        listed = {each["name"] for each in answered(http.get("/api/tags"))["models"]}
        answer = answered(ask(http, "chat", inference("chat", model="mymodel:v1")))
    assert "MyModel:V1" in listed
    assert answer["model"] == "mymodel:v1"


@pytest.mark.parametrize("name", ["smol:local", "smol:latest:local", "SMOL:LOCAL"], ids="{}".format)
def test_local_is_here(http: httpx.Client, name: str) -> None:
    assert answered(ask(http, "chat", inference("chat", model=name)))["model"] == name


def test_local_of_what_is_not_here(http: httpx.Client) -> None:
    assert_refused(
        ask(http, "chat", inference("chat", model="nope:local")), 404, "model 'nope:local' not found"
    )
