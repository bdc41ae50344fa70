"""The real registry of Debian's package docker-registry as a process, and models in Ollama's form in it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from engine_worker.host.store.manifest import CONFIG, DOCKER_MANIFEST
from tests.support.processes import free_port

_READY_SECONDS = 15.0
_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: {address}}}
"""
_AUTH = """\
auth: {{htpasswd: {{realm: registry, path: {path}}}}}
"""
USER, PASSWORD = "robot", "correct-horse"
# Of the password, as `htpasswd -B` writes it.
_HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuZ0Fx87Pb/Aqb0E90lfvCwzXnaFKUHpS\n"


@contextmanager
def docker_registry(folder: Path, private: bool = False) -> Iterator[str]:
    """Its URL. scripts/with_docker_registry.sh says where the program is. `private`: for USER only."""
    address = f"127.0.0.1:{free_port()}"
    settings = folder / "registry.yml"
    text = _CONFIG.format(folder=folder / "registry", address=address)
    if private:
        (folder / "htpasswd").write_text(_HTPASSWD)
        text += _AUTH.format(path=folder / "htpasswd")
    settings.write_text(text)
    program = os.environ.get("DROVER_DOCKER_REGISTRY", "docker-registry")
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(settings)], stdout=log, stderr=log)
    try:
        _wait(f"http://{address}/v2/", folder / "registry.log", 401 if private else 200)
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def put_model(url: str, path: str, tag: str, layers: Mapping[str, bytes]) -> None:
    """`path`: namespace and model; `layers`: by their media types."""
    with httpx.Client(base_url=f"{url}/v2/{path}", timeout=20, follow_redirects=True) as client:
        described = [_put_blob(client, media_type, data) for media_type, data in layers.items()]
        config = _put_blob(client, CONFIG, b'{"model_format":"gguf"}')
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": config,
            "layers": described,
        }
        headers = {"Content-Type": DOCKER_MANIFEST}
        answer = client.put(f"/manifests/{tag}", content=json.dumps(manifest), headers=headers)
        answer.raise_for_status()


def _put_blob(client: httpx.Client, media_type: str, data: bytes) -> Mapping[str, object]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    place = client.post("/blobs/uploads/").raise_for_status().headers["Location"]
    client.put(place, params={**httpx.URL(place).params, "digest": digest}, content=data).raise_for_status()
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _wait(url: str, log: Path, status: int) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        try:
            if httpx.get(url, timeout=1).status_code == status:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the registry is not ready: {log.read_text()[-2000:]}")
