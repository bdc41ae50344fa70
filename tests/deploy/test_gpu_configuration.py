"""`make up GPU=1`: what Compose is given. No machine of ours has a GPU, so nothing is started."""

from __future__ import annotations

import json
import os
import subprocess

from scripts.stack import Compose
from scripts.stack_plan import on_own_gpus
from tests.support.processes import ROOT

_FILES = ("docker-compose.yml", "deploy/compose/several.yml", "deploy/compose/gpu.yml")


def test_compose_takes_workers_with_gpus_of_their_own() -> None:
    environment = {**os.environ, "MODEL": "Qwen/Qwen3-8B", "POSTGRES_PASSWORD": "secret"}
    compose = Compose(environment, _FILES)
    stack = on_own_gpus(compose.configuration(), workers=2, gpus_each=1)

    read = subprocess.run(
        [*compose.command, "--project-directory", str(ROOT), "--file", "-", "config", "--format", "json"],
        input=json.dumps(stack),
        capture_output=True,
        text=True,
        check=True,
    )

    services = json.loads(read.stdout)["services"]
    assert set(services) == {"frontend", "proxy", "postgres", "worker-0", "worker-1"}
    for number in (0, 1):
        worker = services[f"worker-{number}"]
        (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": [str(number)], "capabilities": ["gpu"]}
        assert worker["image"].startswith("drover-worker-sglang:")
        assert worker["environment"]["DROVER_WORKER_ENGINE"] == "sglang"
        assert worker["environment"]["DROVER_WORKER_MODEL"] == "Qwen/Qwen3-8B"
        assert worker["networks"]["fleet"] == {"aliases": ["worker"]}
        assert worker["read_only"] is True
