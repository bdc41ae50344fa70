"""Sections 4.8 and 4.9: routes about ollama.com, and the names of models.

| line | asserted by |
|---|---|
| 4.9 case, tag left out, echo | transcripts "chat upper", "chat no tag", "show upper case"; section 2.1 |
| 4.9 invalid names | transcripts "chat bad name", "show path" |
| 4.9 source suffix | section 2.11 #6 and #8, section 4.1 |

Not here: hf.co names that were pulled (nothing is pulled; such a name is as any other host's).
"""

from __future__ import annotations

import httpx
import pytest

from tests.contract.asking import JSON, answered, ask, assert_refused, inference, preset

_OFF = "ollama cloud is disabled: web {} is unavailable"
_INVALID = "invalid model name"


def test_4_8_status(http: httpx.Client) -> None:
    answer = http.get("/api/status")
    assert (answer.status_code, answer.text) == (200, '{"cloud":{"disabled":true,"source":"config"}}')
    assert answer.headers["content-type"] == JSON


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        pytest.param("POST", "me", 401, "unauthorized", id="4.8 me"),
        pytest.param("POST", "signout", 401, "you are not currently signed in", id="4.8 signout"),
        pytest.param("DELETE", "user/keys/a", 401, "you are not currently signed in", id="4.8 user keys"),
        pytest.param("POST", "experimental/web_search", 403, _OFF.format("search"), id="4.8 web_search"),
        pytest.param("POST", "experimental/web_fetch", 403, _OFF.format("fetch"), id="4.8 web_fetch"),
    ],
)
@pytest.mark.parametrize("body", ["", "{}", '{"query":"x","url":"https://x.example"}', "["])
def test_nothing_is_passed_on(
    http: httpx.Client, method: str, path: str, status: int, error: str, body: str
) -> None:
    assert_refused(http.request(method, f"/api/{path}", content=body), status, error)


def test_4_8_recommendations(http: httpx.Client) -> None:
    answer = http.get("/api/experimental/model-recommendations")
    assert (answer.status_code, answer.text) == (200, '{"recommendations":[]}')


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a b", id="4.9 a space"),
        pytest.param("-a", id="4.9 begins with -"),
        pytest.param(".a", id="4.9 begins with ."),
        pytest.param("a!", id="4.9 another character"),
        pytest.param("é", id="4.9 a letter with an accent"),
        pytest.param("a.b/c", id="4.9 . in a namespace"),
        pytest.param("h/a.b/c", id="4.9 . in a namespace with a host"),
        pytest.param("a:b:c", id="4.9 : in a tag"),
        pytest.param("a:", id="4.9 empty tag"),
        pytest.param(":b", id="4.9 empty model"),
        pytest.param("/a", id="4.9 empty namespace"),
        pytest.param("//a", id="4.9 empty host"),
        pytest.param("a/", id="4.9 empty model behind a namespace"),
        pytest.param("a/b/c/d", id="4.9 four segments"),
        pytest.param("a" * 81, id="4.9 model of 81"),
        pytest.param(f"{'a' * 81}/b", id="4.9 namespace of 81"),
        pytest.param(f"a:{'b' * 81}", id="4.9 tag of 81"),
        pytest.param(f"{'a' * 351}/b/c", id="4.9 host of 351"),
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


@pytest.mark.parametrize(("name", "shown"), _SHOWN, ids=[f"4.9 shown {name[:40]}" for name, _ in _SHOWN])
def test_valid_and_shown(http: httpx.Client, name: str, shown: str) -> None:
    assert_refused(ask(http, "show", {"model": name}), 404, f"model '{shown}' not found")
    assert_refused(ask(http, "chat", inference("chat", model=name)), 404, f"model '{name}' not found")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("Thinker", "thinker:latest", id="4.9 segments, one"),
        pytest.param("ORG/thinker:v1", "Org/Thinker:V1", id="4.9 segments, two"),
        pytest.param("Registry.Ollama.AI/Org/thinker:v1", "Org/Thinker:V1", id="4.9 segments, three"),
    ],
)
def test_case_is_kept_and_does_not_count(http: httpx.Client, name: str, shown: str) -> None:
    assert f"# FROM {shown}\n" in answered(ask(http, "show", {"model": name}))["modelfile"]
    options = {"num_predict": 1}
    assert (
        answered(ask(http, "chat", inference("chat", model=name, options=options, think=False)))["model"]
        == name
    )


def test_4_9_a_preset_keeps_the_case_that_it_was_first_written_in(http: httpx.Client) -> None:
    with preset(http, "MyModel:V1"):
        listed = {each["name"] for each in answered(http.get("/api/tags"))["models"]}
        answer = answered(ask(http, "chat", inference("chat", model="mymodel:v1")))
    assert "MyModel:V1" in listed
    assert answer["model"] == "mymodel:v1"


@pytest.mark.parametrize("name", ["smol:local", "smol:latest:local", "SMOL:LOCAL"], ids="4.9 {}".format)
def test_local_is_here(http: httpx.Client, name: str) -> None:
    assert answered(ask(http, "chat", inference("chat", model=name)))["model"] == name


def test_4_9_local_of_what_is_not_here(http: httpx.Client) -> None:
    assert_refused(
        ask(http, "chat", inference("chat", model="nope:local")), 404, "model 'nope:local' not found"
    )
