"""Ollama hosts with https: those of public authorities, and of the operator's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from drover.errors import DroverError, WorkerUnreachable
from frontend.routing.backends.ollama.worker import OllamaWorker
from tests.fakes.http_server import serving
from tests.support.certificates import Authority


async def _nothing(request: Request) -> JSONResponse:
    return JSONResponse({"error": "model 'm' not found"}, 404)


async def _problem(folder: Path, authority: str) -> str:
    files = Authority.make(folder).sign(folder / "host")
    app = Starlette(routes=[Route("/{path:path}", _nothing, methods=["GET", "POST"])])
    async with serving(app, (files.certificate, files.key)) as port:
        worker = OllamaWorker(f"ollama:https://127.0.0.1:{port}/m", authority)
        try:
            with pytest.raises(DroverError) as failed:
                await worker.model(5.0)
        finally:
            await worker.close()
        assert isinstance(failed.value, WorkerUnreachable)
        return failed.value.message


async def test_an_authority_that_is_not_known_is_named(tmp_path: Path) -> None:
    problem = await _problem(tmp_path, "")

    assert problem.startswith("the Ollama host's certificate is not trusted (--ollama-authority)")
    assert "unable to get local issuer certificate" in problem


async def test_an_authority_of_ones_own_is_trusted(tmp_path: Path) -> None:
    """The host is reached: it says that it has no such model."""
    assert "has no such model" in await _problem(tmp_path, str(tmp_path / "authority.crt"))


def test_a_file_that_is_no_authority_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for path in ("empty", "absent"):
        with pytest.raises(ValueError, match=path):
            OllamaWorker("ollama:https://host/m", str(tmp_path / path))
