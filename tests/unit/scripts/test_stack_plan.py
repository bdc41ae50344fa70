"""What `make up` starts, and what it refuses."""

from __future__ import annotations

import pytest

from drover import __version__
from scripts.stack_plan import Refused, Running, image_version, on_own_gpus, plan, read_env_file

_TWO_AND_THREE = [Running("frontend", "drover-frontend:dev")] * 2 + [
    Running("worker", "drover-worker-cpu:dev")
] * 3


def test_one_of_each_when_nothing_is_said() -> None:
    wanted = plan({}, [])

    assert wanted.scales == ["frontend=1", "worker=1"]
    assert [wanted.is_several, wanted.has_own_database, wanted.gpu] == [False, False, False]
    assert wanted.banner == "Drover is ready: http://127.0.0.1:11434 (frontends: 1, workers: 1)"


def test_images_have_the_packages_version_unless_another_is_named() -> None:
    assert image_version({}) == image_version({"VERSION": ""}) == __version__
    assert image_version({"VERSION": "test"}) == "test"


def test_counts_that_are_not_given_stay_as_they_are() -> None:
    assert plan({"WORKERS": "5"}, _TWO_AND_THREE).scales == ["frontend=2", "worker=5"]
    assert plan({"FRONTENDS": "1"}, _TWO_AND_THREE).scales == ["frontend=1", "worker=3"]
    assert plan({"FRONTENDS": ""}, _TWO_AND_THREE).frontends == 2


def test_several_frontends_bring_a_database_unless_there_is_one() -> None:
    assert plan({"FRONTENDS": "2"}, []).has_own_database
    own = plan({"FRONTENDS": "2", "DATABASE_URL": "postgresql://me@there/name"}, [])
    assert own.is_several
    assert not own.has_own_database
    assert "postgres=0" in own.scales


def test_a_host_takes_the_workers_place_and_stays() -> None:
    wanted = plan({"HOSTS": "1"}, [])
    assert wanted.has_host
    assert wanted.scales == ["frontend=1", "worker=0"]
    assert "one worker host: ollama pull NAME" in wanted.banner
    running = [Running("frontend", "drover-frontend:dev"), Running("host", "drover-worker-cpu:dev")]
    assert plan({}, running).has_host
    assert not plan({"HOSTS": "0"}, running).has_host
    assert not plan({}, _TWO_AND_THREE).has_host


def test_tls_shows_in_the_banner() -> None:
    wanted = plan({"TLS": "1", "CERTIFICATES": "/c"}, [])

    assert wanted.tls
    assert wanted.banner.startswith("Drover is ready: https://127.0.0.1:11434 ")
    assert "/c/authority.crt" in wanted.banner
    assert not plan({"TLS": "0"}, []).tls


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"HOSTS": "2"}, "HOSTS must be 1 or 0, one for this machine, and not '2'"),
        ({"HOSTS": "1", "GPU": "1", "MODEL": "a/b"}, "HOSTS=1 and GPU=1 do not go together"),
        ({"TLS": "yes"}, "TLS must be 1 or 0, and not 'yes'"),
        ({"FRONTENDS": "2", "DATABASE_URL": "sqlite:////x"}, "cannot share a file of SQLite"),
        ({"FRONTENDS": "0"}, "FRONTENDS must be a number from 1 on, and not '0'"),
        ({"WORKERS": "many"}, "WORKERS must be a number from 1 on, and not 'many'"),
        ({"GPU": "1"}, "GPU=1 needs a model"),
        ({"GPU": "yes"}, "GPU must be 1 or 0, and not 'yes'"),
        (
            {"GPU": "1", "MODEL": "a/b", "GPUS_PER_WORKER": "all"},
            "GPUS_PER_WORKER must be a number from 1 on",
        ),
        ({"PORT": "70000"}, "PORT must be a number up to 65535"),
        ({"ENGINE": "sglang", "MODEL": "a/b"}, "GPU=1 is SGLang"),
        ({"MODEL": "~/qwen.gguf"}, "name its folder in MODELS"),
        ({"MODEL": "Qwen/Qwen3-8B"}, "name its folder in MODELS"),
        ({"GPU": "1", "MODEL": "/srv/qwen"}, "name its folder in MODELS"),
    ],
)
def test_plans_that_cannot_work_are_refused(environment: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        plan(environment, [])


@pytest.mark.parametrize(
    "environment",
    [
        {"MODEL": "/models/qwen.gguf"},
        {"MODEL": "sim", "ENGINE": "simulator"},
        {"MODEL": "/models/qwen", "GPU": "1", "GPUS_PER_WORKER": ""},
    ],
)
def test_models_that_workers_see(environment: dict[str, str]) -> None:
    assert plan(environment, []).gpus_each == 1


def test_a_stack_on_gpus_stays_on_gpus() -> None:
    running = [Running("frontend", "drover-frontend:dev"), Running("worker-0", "drover-worker-sglang:dev")]
    wanted = plan({"FRONTENDS": "2", "MODEL": "a/b"}, running)
    assert (wanted.gpu, wanted.workers) == (True, 1)
    assert not plan({"GPU": "0"}, running).gpu


@pytest.mark.parametrize(
    ("bind", "warned"), [("0.0.0.0", True), ("10.0.0.7", True), ("127.0.0.1", False), ("", False)]
)
def test_ports_that_others_reach_are_warned_of(bind: str, warned: bool) -> None:
    assert ("OPEN TO THE NETWORK" in plan({"BIND": bind}, []).banner) is warned


def test_each_worker_gets_gpus_of_its_own() -> None:
    devices = [{"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}]
    worker = {
        "image": "drover-worker-sglang:dev",
        "build": {"context": "."},
        "networks": {"fleet": None, "outside": None},
        "deploy": {"resources": {"reservations": {"devices": devices}}},
    }

    services = on_own_gpus({"services": {"frontend": {}, "worker": worker}}, workers=2, gpus_each=2)[
        "services"
    ]

    assert isinstance(services, dict)
    assert set(services) == {"frontend", "worker-0", "worker-1"}
    ids = [
        services[name]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name in ("worker-0", "worker-1")
    ]
    assert ids == [["0", "1"], ["2", "3"]]
    assert services["worker-1"]["networks"] == {"fleet": {"aliases": ["worker"]}, "outside": None}


def test_an_env_file_is_read_as_compose_does() -> None:
    text = "# lasting\nPORT=12000\n\n BIND = '0.0.0.0' \nNOTHING\nURL=postgresql://a?b=c\n"
    assert read_env_file(text) == {"PORT": "12000", "BIND": "0.0.0.0", "URL": "postgresql://a?b=c"}
