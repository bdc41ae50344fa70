"""The wheel as a stranger installs it: all that both tiers need is in it, and nothing else."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import httpx

from drover import __version__
from engine_worker.health import is_serving
from frontend.health import is_ok
from tests.package.conftest import Environment
from tests.support.processes import ROOT, free_port, launched
from tests.support.waiting import wait_until

_PACKAGES = ("drover", "engine_worker", "frontend")
_START_SECONDS = 60.0


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if name.startswith(f"drover-{__version__}.dist-info/")}
    files = [file for package in _PACKAGES for file in (ROOT / package).rglob("*") if file.is_file()]
    expected = {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}
    assert names - metadata == expected
    assert {f"{package}/py.typed" for package in _PACKAGES} <= names
    assert f"drover-{__version__}.dist-info/licenses/LICENSE" in metadata


def test_without_the_extra_the_frontend_runs_and_the_worker_names_it(without_extras: Environment) -> None:
    assert without_extras.run("drover-frontend", "--help").returncode == 0
    refused = without_extras.run("drover-worker", "--help")
    assert refused.returncode == 1
    assert "pip install 'drover[worker]'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_each_command_says_what_it_takes_and_which_version_it_is(installed: Environment) -> None:
    for command in ("drover-frontend", "drover-worker", "drover-host"):
        help_of = installed.run(command, "--help")
        assert (help_of.returncode, help_of.stderr) == (0, "")
        assert help_of.stdout.startswith(f"usage: {command} ")
        assert installed.run(command, "--version").stdout == f"drover {__version__}\n"


def test_a_store_without_models_is_listed(installed: Environment, tmp_path: Path) -> None:
    listed = installed.run("drover-host", "list", "--store", str(tmp_path))
    assert listed.stdout.split() == ["NAME", "SIZE", "MiB", "MEMORY", "MiB", "ENGINE", "STATE"], listed.stderr


def test_both_tiers_answer_a_chat(installed: Environment) -> None:
    folder, at, worker = installed.folder, f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    frontend_flags = ("--listen", at, "--workers", worker, "--database-url", "sqlite:///presets.sqlite3")
    worker_flags = ("--listen", worker, "--engine", "simulator", "--model", "sim")
    with (
        launched(worker_flags, worker, folder / "w.log", _script(installed, "worker"), root=folder),
        launched(frontend_flags, at, folder / "f.log", _script(installed, "frontend"), root=folder),
    ):
        wait_until(lambda: is_serving(worker), _START_SECONDS, "the worker is ready")
        wait_until(lambda: is_ok(f"http://{at}/readyz"), _START_SECONDS, "the frontend is ready")
        body = {"model": "sim", "messages": [{"role": "user", "content": "hello"}], "stream": False}
        answer: Mapping[str, object] = httpx.post(f"http://{at}/api/chat", json=body).json()
        assert answer["done"] is True
        assert httpx.get(f"http://{at}/openapi.json").is_success


def test_the_worker_has_llama_cpp_and_says_how_to_get_a_model(installed: Environment) -> None:
    imported = installed.run("python", "-c", "from engine_worker.engines.llamacpp import LlamacppEngine")
    assert imported.returncode == 0, imported.stderr
    ended = installed.run("drover-worker", "--listen", "127.0.0.1:0")
    assert ended.returncode == 1
    assert "no --model was given" in ended.stderr


def _script(environment: Environment, tier: str) -> str:
    return str(environment.scripts / f"drover-{tier}")
