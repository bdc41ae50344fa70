"""What `create` checks and refuses, and what it takes of what `show` prints."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import create, names, post, worker


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    async with start(worker()) as running:
        yield running


_NOT_COUNT = "must be a non-negative integer"


def _wrong(kind: str, field: str, go_type: str) -> str:
    return f"json: cannot unmarshal {kind} into Go struct field CreateRequest.{field} of type {go_type}"


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"renderer": 5}, 400, _wrong("number", "renderer", "string")),
        ({"parser": []}, 400, _wrong("array", "parser", "string")),
        ({"requires": 5}, 400, _wrong("number", "requires", "string")),
        ({"info": "x"}, 400, _wrong("string", "info", "map[string]interface {}")),
        ({"info": {"context_length": -1}}, 400, f'info field "context_length" {_NOT_COUNT}'),
        ({"info": {"context_length": 1.5}}, 400, f'info field "context_length" {_NOT_COUNT}'),
        ({"info": {"embedding_length": "x"}}, 400, 'info field "embedding_length" must be a number'),
        ({"info": {"model_family": 5}}, 400, 'info field "model_family" must be a string'),
        ({"info": {"capabilities": "x"}}, 400, 'info field "capabilities" must be an array of strings'),
        ({"info": {"capabilities": ["x", 1]}}, 400, 'info field "capabilities" element 1 must be a string'),
        ({"remote_host": "::bad"}, 400, "bad remote"),
        ({"draft_quantize": "q8_0"}, 400, "--draft-quantize requires a DRAFT model"),
        ({"draft_files": {}}, 400, "unknown type"),
        ({"draft_files": {"/x": "sha256:1"}}, 400, "file path must be relative"),
        ({"draft_files": {"x": "sha256:1"}}, 400, "invalid digest format"),
        ({"requires": "newest"}, 400, "requires must be a valid semver (e.g. 0.14.0)"),
        ({"license": 5}, 500, "json: cannot unmarshal number into Go value of type []string"),
        ({"license": {"a": 1}}, 500, "json: cannot unmarshal object into Go value of type []string"),
        ({"license": ["L", 5]}, 500, "json: cannot unmarshal number into Go value of type string"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False])
async def test_create_checks_as_upstream(
    frontend: Frontend, fields: dict[str, object], status: int, error: str, stream: bool
) -> None:
    response = await post(frontend, "/api/create", model="t", **{"from": "m"}, stream=stream, **fields)

    assert (response.status_code, response.json()) == (status, {"error": error})
    assert await names(frontend) == ["m:latest"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"remote_host": "example.com:1"}, "remote_host: 'example.com:1' cannot be used"),
        ({"draft_files": {"x": f"sha256:{'0' * 64}"}}, "draft_files: x: there is no blob sha256:000"),
        ({"info": {"model_family": "x"}}, "info: model_family cannot be set"),
        ({"requires": "99.1"}, "requires: 99.1 is newer than"),
    ],
)
async def test_unusable_fields_are_refused_with_the_reason(
    frontend: Frontend, fields: dict[str, object], words: str
) -> None:
    response = await post(frontend, "/api/create", model="t", **{"from": "m"}, **fields)

    assert response.status_code == 400
    assert words in response.json()["error"]
    assert await names(frontend) == ["m:latest"]


async def test_the_required_version_is_kept_and_shown(frontend: Frontend) -> None:
    await create(frontend, requires="v0.14", info={"other": 1}, renderer="", draft_quantize=None)
    shown = (await post(frontend, "/api/show", model="pirate")).json()

    assert shown["requires"] == "0.14"
    assert "REQUIRES 0.14" in shown["modelfile"].splitlines()
    assert "requires" not in (await post(frontend, "/api/show", model="m")).json()


@pytest.mark.parametrize(
    ("licence", "steps", "shown"),
    [("", 0, "MIT"), ([""], 1, "MIT\n"), (["", "L"], 2, "MIT\n\nL"), (None, 0, "MIT"), (["MIT"], 0, "MIT")],
)
async def test_an_empty_licence_counts_only_in_a_list(
    frontend: Frontend, licence: object, steps: int, shown: str
) -> None:
    body = {"model": "t", "from": "m", "license": licence, "stream": True}
    response = await post(frontend, "/api/create", **body)

    assert len(response.text.splitlines()) == 3 + steps
    assert (await post(frontend, "/api/show", model="t")).json()["license"] == shown


async def test_the_template_that_show_prints_is_accepted(start: Start) -> None:
    """Also where it is Jinja, and the model keeps what its own template can do."""
    jinja = "{% for m in messages %}\n{{ m['content'] }}{% endfor %}"
    other = worker()
    assert other.described is not None
    other.described.template = jinja
    async with start(other) as frontend:
        shown = (await post(frontend, "/api/show", model="m")).json()
        assert shown["template"] == jinja
        for model, origin in (("one", "m"), ("two", "one")):
            body = {"model": model, "from": origin, "template": jinja, "stream": False}
            response = await post(frontend, "/api/create", **body)
            assert (response.status_code, response.json()) == (200, {"status": "success"})
            again = (await post(frontend, "/api/show", model=model)).json()
            assert (again["template"], again["capabilities"]) == (jinja, shown["capabilities"])
        body = {"model": "two", "prompt": "x", "template": jinja, "stream": False}
        assert (await post(frontend, "/api/generate", **body)).status_code == 200
        assert not frontend.worker.handles[-1].request.template


async def test_another_jinja_template_is_refused_with_a_remedy(frontend: Frontend) -> None:
    body = {"model": "t", "from": "m", "template": "{% if x %}{{ m['a'] }}{% endif %}"}
    response = await post(frontend, "/api/create", **body)

    assert response.status_code == 400
    assert "--chat-template" in response.json()["error"]
