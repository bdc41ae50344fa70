"""`ollama list`, `ps`, `show`, `-v`, `signin` and the requests of `launch`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.clients import go_requests as go
from tests.clients.fleet import SMOL, THINKER, VECTORS, Fleet
from tests.clients.go_client import GoStatusError, command
from tests.clients.go_types import GENERATE, LIST, PROCESSES, RECOMMENDATIONS, SHOW, STATUS, VERSION


def test_list(fleet: Fleet) -> None:
    with command(fleet) as cli:
        models = {model["name"]: model for model in cli.do("GET", "/api/tags", kind=LIST)["models"]}
    assert {f"{name}:latest" for name in (SMOL, THINKER, VECTORS)} <= set(models)
    for model in models.values():
        assert len(model["digest"]) >= 12
        assert model["size"] >= 0
        assert model["modified_at"] <= datetime.now(UTC)
        assert not model.get("remote_model")


def test_ps(fleet: Fleet) -> None:
    """Loads the model first: a test of `stop` may have unloaded it."""
    with command(fleet) as cli:
        list(cli.stream("/api/generate", go.generate(SMOL), GENERATE))
        models = {model["name"]: model for model in cli.do("GET", "/api/ps", kind=PROCESSES)["models"]}
    assert models[f"{SMOL}:latest"]["context_length"] == 2048
    for model in models.values():
        assert len(model["digest"]) >= 12
        assert model["size_vram"] == 0
    assert models[f"{SMOL}:latest"]["size"] > 0


def test_ps_has_the_expiry(fleet: Fleet) -> None:
    """The CLI prints "Forever" for what is more than twenty years away."""
    twenty_years = timedelta(days=365 * 20)
    for keep_alive, is_forever in (("-1s", True), ("5m0s", False)):
        with command(fleet) as cli:
            list(cli.stream("/api/generate", go.generate(SMOL, keep_alive=keep_alive), GENERATE))
            models = {model["name"]: model for model in cli.do("GET", "/api/ps", kind=PROCESSES)["models"]}
        left = models[f"{SMOL}:latest"]["expires_at"] - datetime.now(UTC)
        assert (left > twenty_years) == is_forever
        assert left > timedelta(minutes=4)


def test_show(fleet: Fleet) -> None:
    with command(fleet) as cli:
        shown = cli.do("POST", "/api/show", go.show(SMOL), SHOW)
    info = shown["model_info"]
    assert info["general.architecture"] == "llama"
    assert info["general.parameter_count"] == 134_515_008
    assert (info["llama.context_length"], info["llama.embedding_length"]) == (8192, 576)
    assert shown["details"]["parameter_size"] == "134.52M"
    assert shown["capabilities"] == ["completion", "decision"]
    assert "projector_info" not in shown


@pytest.mark.parametrize("part", ["modelfile", "template"])
def test_show_one_part(fleet: Fleet, part: str) -> None:
    """Each flag sends the same request and prints one field."""
    with command(fleet) as cli:
        shown = cli.do("POST", "/api/show", go.show(SMOL), SHOW)
    assert shown[part]


@pytest.mark.parametrize("part", ["license", "parameters", "system"])
def test_show_a_part_that_may_be_empty(fleet: Fleet, part: str) -> None:
    with command(fleet) as cli:
        shown = cli.do("POST", "/api/show", go.show(SMOL), SHOW)
    assert isinstance(shown.get(part, ""), str)


def test_show_verbose(fleet: Fleet) -> None:
    with command(fleet) as cli:
        shown = cli.do("POST", "/api/show", go.show(SMOL, verbose=True), SHOW)
    tensors = {tensor["name"]: tensor for tensor in shown["tensors"]}
    assert sorted(tensors["token_embd.weight"]["shape"]) == [576, 49152]
    assert shown["model_info"]["general.architecture"] == "llama"


def test_show_with_a_session_s_settings(fleet: Fleet) -> None:
    """`/show info`, `/show parameters` and `/show system` of a session send its settings along."""
    body = go.show(SMOL, system="Be brief.", options={"temperature": 0.5, "stop": ["a", "b"]})
    with command(fleet) as cli:
        shown = cli.do("POST", "/api/show", body, SHOW)
    assert shown["system"] == "Be brief."
    lines = shown["modelfile"].splitlines()
    assert {"SYSTEM Be brief.", "PARAMETER temperature 0.5", "PARAMETER stop a"} <= set(lines)


def test_show_of_a_missing_model(fleet: Fleet) -> None:
    with (
        command(fleet) as cli,
        pytest.raises(GoStatusError, match="model 'nope:latest' not found") as missing,
    ):
        cli.do("POST", "/api/show", go.show("nope"), SHOW)
    assert missing.value.status == 404


def test_version(fleet: Fleet) -> None:
    with command(fleet) as cli:
        version = cli.do("GET", "/api/version", kind=VERSION)["version"]
    assert len([int(part) for part in version.split(".")]) == 3


def test_launch_learns_that_the_cloud_is_off(fleet: Fleet) -> None:
    with command(fleet) as cli:
        status = cli.do("GET", "/api/status", kind=STATUS)
    assert status["cloud"] == {"disabled": True, "source": "config"}


def test_launch_finds_models_with_tools(fleet: Fleet) -> None:
    with command(fleet) as cli:
        models = {model["name"]: model for model in cli.do("GET", "/api/tags", kind=LIST)["models"]}
        shown = cli.do("POST", "/api/show", go.show(model=THINKER), SHOW)
        # Another test's command may have stopped it.
        list(cli.stream("/api/generate", go.generate(THINKER, keep_alive="5m0s"), GENERATE))
        running = {model["name"]: model for model in cli.do("GET", "/api/ps", kind=PROCESSES)["models"]}
    name = f"{THINKER}:latest"
    assert "tools" in models[name]["capabilities"]
    assert "tools" in shown["capabilities"]
    assert models[name]["details"]["context_length"] > 0
    assert running[name]["context_length"] > 0


def test_launch_gets_no_recommendations(fleet: Fleet) -> None:
    with command(fleet) as cli:
        answer = cli.do("GET", "/api/experimental/model-recommendations", kind=RECOMMENDATIONS)
    assert answer["recommendations"] == []


@pytest.mark.parametrize("path", ["/api/me", "/api/signout"])
def test_no_account_is_signed_in(fleet: Fleet, path: str) -> None:
    """401 is what `signin`, `signout` and `launch` understand as "not signed in"."""
    with command(fleet) as cli, pytest.raises(GoStatusError) as refused:
        cli.do("POST", path)
    assert refused.value.status == 401
    assert str(refused.value)
