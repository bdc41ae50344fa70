"""What is in the images, and what is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest

from tests.deploy.stack import Stack

IMAGES = ("drover-frontend", "drover-worker-cpu", "drover-proxy", "drover-postgres")
_TOOLS = "pip pip3 easy_install wheel gcc g++ cc make ld git curl wget"


@pytest.fixture(scope="module", autouse=True)
def built(stack: Stack) -> None:
    stack.up(FRONTENDS=2, WORKERS=1)


def _config(stack: Stack, image: str) -> Mapping[str, object]:
    return cast(Mapping[str, object], stack.inspect(f"{image}:test")["Config"])


def test_the_frontend_is_small(stack: Stack) -> None:
    assert cast(int, stack.inspect("drover-frontend:test")["Size"]) < 250_000_000


@pytest.mark.parametrize("image", IMAGES)
def test_it_runs_under_tini_as_an_ordinary_user_and_is_probed(stack: Stack, image: str) -> None:
    config = _config(stack, image)
    assert config["User"] == "10001:10001"
    assert cast(list[str], config["Entrypoint"])[:2] == ["tini", "--"]
    assert config["Healthcheck"]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_its_labels(stack: Stack, image: str) -> None:
    labels = cast(dict[str, str], _config(stack, image)["Labels"])
    said = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert said["title"] == image
    assert said["version"] == "test"
    assert said["revision"]
    assert said["description"]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_no_build_tools_installers_or_writable_files(stack: Stack, image: str) -> None:
    look = (
        f"for tool in {_TOOLS}; do command -v $tool; done; "
        "python3 -c 'import pip' 2>/dev/null && echo pip; "
        "find / -xdev -type f -perm /6000 2>/dev/null; "
        "find / -xdev -type f -writable -not -path '/proc/*' -not -path '/sys/*' 2>/dev/null; true"
    )
    assert stack.docker("run", "--rm", "--entrypoint", "sh", f"{image}:test", "-c", look) == ""


def test_the_frontend_has_no_engine(stack: Stack) -> None:
    names = " -o ".join(f"-name '{name}'" for name in ("*.gguf", "engine_worker", "xllamacpp*", "torch*"))
    look = f"find / -xdev \\( {names} \\) 2>/dev/null; true"
    assert stack.docker("run", "--rm", "--entrypoint", "sh", "drover-frontend:test", "-c", look) == ""
    assert "engine_worker" in stack.docker(
        "run", "--rm", "--entrypoint", "sh", "drover-worker-cpu:test", "-c", look
    )


@pytest.mark.parametrize("service", ["frontend", "worker", "proxy", "postgres"])
def test_a_container_cannot_write_and_has_no_rights(stack: Stack, service: str) -> None:
    (container, *_) = stack.containers(service)
    host = cast(dict[str, object], stack.inspect(container.name)["HostConfig"])
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in cast(list[str], host["SecurityOpt"])
    assert "Read-only file system" in stack.docker(
        "exec", "--user", "0", container.name, "touch", "/usr/x", check=False
    )
