"""The Helm chart: what it gives by default, for each example, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from drover import __version__
from engine_worker import metrics as worker_metrics
from frontend.observability import metrics as frontend_metrics
from scripts.render_chart import CHART, OVERLAYS, RENDERED, Values, render
from tests.deploy_k8s.manifests import (
    ALL_ELSE,
    CUSTOM_KINDS,
    EXAMPLES,
    POSTGRES,
    SGLANG,
    Json,
    Manifest,
    at,
    environment,
    kind_of,
    manifests,
    name_of,
    of_kind,
    one,
    pod_templates,
    rows,
)

_VERSIONS = ("1.35.0", "1.36.0", "1.37.0")
_SCALERS = ("ScaledObject", "HorizontalPodAutoscaler")
_SWITCHED: dict[str, Values] = {
    "HorizontalPodAutoscaler": {
        "frontend": {"autoscaling": {"enabled": False}},
        "models": [{"name": "m", "autoscaling": {"hpa": {"enabled": False}}}],
    },
    "PodDisruptionBudget": {
        "frontend": {"podDisruptionBudget": {"enabled": False}},
        "workerDefaults": {"podDisruptionBudget": {"enabled": False}},
    },
    "NetworkPolicy": {"networkPolicy": {"enabled": False}},
}


def _distinct_objects() -> list[Manifest]:
    """Many are the same in several examples."""
    all_values = [*EXAMPLES.values(), ALL_ELSE]
    found = {json.dumps(item): item for values in all_values for item in manifests(values)}
    return list(found.values())


def _known_to_kubernetes(items: Sequence[Manifest]) -> list[Manifest]:
    """A LeaderWorkerSet's pods are looked at too, as templates."""
    own = [item for item in items if item["kind"] not in CUSTOM_KINDS]
    groups = of_kind(items, "LeaderWorkerSet")
    pods: list[Manifest] = [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name}, "template": template}
        for name, template in pod_templates(groups)
    ]
    return own + pods


def test_lint() -> None:
    for name, values in EXAMPLES.items():
        report = helm.lint(CHART, dict(values), strict=True)
        assert report["errors"] == [], name
        assert all(message["severity"] <= 1 for message in report["messages"]), report


def test_there_is_an_example_of_each_kind_of_fleet() -> None:
    assert set(EXAMPLES) == {"default", "cpu", "gpu", "simulator", "multi-node", "hpa", "tls", "on-demand"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rendered_example_is_up_to_date(name: str) -> None:
    assert (RENDERED / f"{name}.yaml").read_text() == render(EXAMPLES[name]), "python -m scripts.render_chart"


def test_no_example_is_left_over() -> None:
    rendered = {path.stem for path in RENDERED.glob("*.yaml")}
    assert rendered == {"default", *(path.stem for path in OVERLAYS.glob("*.yaml"))}


@pytest.mark.parametrize("version", _VERSIONS)
def test_every_object_is_valid(version: str) -> None:
    items = _known_to_kubernetes(_distinct_objects())
    assert len(items) > 40
    for item in items:
        kubernetes_validate.validate(item, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    (item, *_) = of_kind(manifests({}), "Service")
    wrong: Manifest = {**item, "spec": {"selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, _VERSIONS[-1], strict=True)


def test_objects_of_the_default_values() -> None:
    kinds = {kind_of(item) for item in manifests({})}
    assert {"Deployment", "Service", *_SWITCHED} <= kinds
    assert not kinds & CUSTOM_KINDS
    assert not kinds & {"Ingress", "Role", "Secret", "PersistentVolumeClaim"}


@pytest.mark.parametrize("kind", _SWITCHED)
def test_objects_that_can_be_turned_off(kind: str) -> None:
    values = _SWITCHED[kind]
    assert of_kind(manifests({}), kind)
    assert not of_kind(manifests(values), kind)


def test_no_service_is_reached_from_outside() -> None:
    for values in EXAMPLES.values():
        for service in of_kind(manifests(values), "Service"):
            assert at(service, "spec", "type") == "ClusterIP"


def test_workers_are_behind_headless_services_that_name_all_of_them() -> None:
    service = one(manifests({}), "Service", "drover-smollm2")

    assert at(service, "spec", "clusterIP") == "None"
    assert at(service, "spec", "publishNotReadyAddresses") is True


def test_workers_of_others_join_those_of_the_chart() -> None:
    values: Values = {"frontend": {"extraWorkers": ["ollama:http://host:11434/m"]}}
    (template,) = [pod for name, pod in pod_templates(manifests(values)) if name.endswith("frontend")]
    places = environment(at(template, "spec", "containers", 0))["DROVER_FRONTEND_WORKERS"]
    assert places == "dns:drover-smollm2:50051,ollama:http://host:11434/m"


def test_only_frontends_reach_workers() -> None:
    items = manifests(EXAMPLES["cpu"])
    frontend = at(one(items, "Deployment", "drover-frontend"), "spec", "selector", "matchLabels")
    for name in ("drover-smollm2", "drover-qwen"):
        policy = one(items, "NetworkPolicy", name)
        (rule,) = rows(policy, "spec", "ingress")
        assert rows(rule, "from") == [{"podSelector": {"matchLabels": frontend}}]
        assert [at(port, "port") for port in rows(rule, "ports")] == ["grpc"]
        assert rows(policy, "spec", "policyTypes") == ["Ingress", "Egress"]


def test_the_ranks_of_one_engine_reach_each_other() -> None:
    policy = one(manifests(EXAMPLES["multi-node"]), "NetworkPolicy", "drover-deepseek-r1")
    own = {"podSelector": at(policy, "spec", "podSelector")}

    assert {"from": [own]} in rows(policy, "spec", "ingress")
    assert {"to": [own]} in rows(policy, "spec", "egress")


def test_rules_for_the_api_come_with_the_discovery_that_asks_it() -> None:
    watching = manifests({"discovery": "endpointslices"})
    (role,) = of_kind(watching, "Role")
    assert rows(role, "rules") == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    ]
    spec = ("spec", "template", "spec", "automountServiceAccountToken")
    assert at(one(watching, "Deployment", "drover-frontend"), *spec) is True
    assert at(one(watching, "Deployment", "drover-smollm2"), *spec) is False
    assert at(one(manifests({}), "Deployment", "drover-frontend"), *spec) is False


def test_gpus_are_not_asked_for_twice_in_an_update() -> None:
    items = manifests(EXAMPLES["gpu"])
    scarce = at(one(items, "Deployment", "drover-qwen3-32b"), "spec")
    plain = at(one(manifests({}), "Deployment", "drover-smollm2"), "spec")

    assert at(scarce, "strategy", "rollingUpdate") == {"maxSurge": 0, "maxUnavailable": 1}
    assert at(plain, "strategy", "rollingUpdate") == {"maxSurge": 1, "maxUnavailable": 0}
    container = at(scarce, "template", "spec", "containers", 0)
    assert at(container, "resources", "limits", "nvidia.com/gpu") == 2


def test_frontends_on_sqlite_are_never_two() -> None:
    strategy = ("spec", "strategy", "type")
    assert at(one(manifests({}), "Deployment", "drover-frontend"), *strategy) == "Recreate"
    assert at(one(manifests(POSTGRES), "Deployment", "drover-frontend"), *strategy) == "RollingUpdate"


def test_a_database_url_is_a_secret() -> None:
    items = manifests({"database": {"url": "postgresql://drover:hunter2@db/drover"}})

    (holder,) = [item for item in items if "hunter2" in json.dumps(item)]
    assert holder["kind"] == "Secret"


def test_hosts_have_credentials_of_registries_and_hubs() -> None:
    values: Values = {"registrySecret": "registries", "hubTokenSecret": {"name": "hub"}, "memoryMib": 0}
    hosts = one(manifests({"hosts": {"enabled": True, **values}}), "StatefulSet", "drover-host")
    pod = at(hosts, "spec", "template", "spec")
    container = at(pod, "containers", 0)

    assert environment(container)["DOCKER_CONFIG"] == "/etc/drover/registry"
    (volume,) = [each for each in rows(pod, "volumes") if at(each, "name") == "registry"]
    assert at(volume, "secret", "items") == [{"key": ".dockerconfigjson", "path": "config.json"}]
    assert {"name": "registry", "mountPath": "/etc/drover/registry", "readOnly": True} in rows(
        container, "volumeMounts"
    )
    (token,) = [each for each in rows(container, "env") if at(each, "name") == "HF_TOKEN"]
    assert at(token, "valueFrom", "secretKeyRef") == {"name": "hub", "key": "token"}
    # The host takes it from the limit of its container.
    assert "DROVER_HOST_MEMORY_MIB" not in environment(container)


def test_a_model_cache_is_each_workers_or_shared() -> None:
    items = manifests(EXAMPLES["gpu"])
    each = one(items, "StatefulSet", "drover-qwen3-8b")
    shared = one(items, "Deployment", "drover-qwen3-32b")

    assert name_of(at(each, "spec", "volumeClaimTemplates", 0)) == "models"
    claims = [
        volume for volume in rows(shared, "spec", "template", "spec", "volumes") if "models" in str(volume)
    ]
    assert claims == [{"name": "models", "persistentVolumeClaim": {"claimName": "shared-models"}}]


@pytest.mark.parametrize("example", ["gpu", "hpa"])
def test_workers_are_scaled_by_metrics_that_there_are(example: str) -> None:
    """Names in queries against names in the code that exports them."""
    text = json.dumps([item for item in manifests(EXAMPLES[example]) if kind_of(item) in _SCALERS])
    used = set(re.findall(r"drover_worker_\w+", text))

    assert used <= {metric.name for metric in worker_metrics.METRICS if metric.kind == "gauge"}
    assert "drover_worker_kv_tokens_used" in used
    if example == "gpu":
        assert "drover_(frontend|worker)_waiting_requests" in text
        assert "drover_frontend_waiting_requests" in {metric.name for metric in frontend_metrics.METRICS}


def test_replicas_are_set_only_where_no_autoscaler_does() -> None:
    for values in EXAMPLES.values():
        items = manifests(values)
        for scaler in (item for item in items if item["kind"] in _SCALERS):
            target = at(scaler, "spec", "scaleTargetRef")
            scaled = one(items, str(at(target, "kind")), str(at(target, "name")))
            assert at(target, "apiVersion") == scaled["apiVersion"]
            spec = scaled["spec"]
            assert isinstance(spec, dict)
            assert "replicas" not in spec


def test_selectors_find_the_pods() -> None:
    for values in EXAMPLES.values():
        items = manifests(values)
        templates = [at(template, "metadata", "labels") for _, template in pod_templates(items)]
        for item in items:
            if item["kind"] not in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
                continue
            spec = item["spec"]
            assert isinstance(spec, dict)
            selector = spec["selector"] if item["kind"] != "NetworkPolicy" else spec["podSelector"]
            assert isinstance(selector, dict)
            wanted = selector.get("matchLabels", selector)
            assert isinstance(wanted, dict)
            # Set on pods by the LeaderWorkerSet's controller.
            own = {key: value for key, value in wanted.items() if not key.startswith("leaderworkerset")}
            assert any(own.items() <= labels.items() for labels in templates if isinstance(labels, dict)), (
                item
            )


def test_the_longest_names_leave_room_for_what_controllers_add() -> None:
    """A StatefulSet's pods have a label of its name and a hash of ten letters, one of a LeaderWorkerSet's
    groups a number too.
    """
    model = {"name": "m" * 24, "kind": "StatefulSet"}
    group = {**SGLANG, "name": "g" * 24, "nodes": 2}
    text = render({"models": [model, group]}, release="r" * 53)
    items = [item for item in yaml.safe_load_all(text) if item]

    assert max(len(name_of(item)) for item in of_kind(items, "Service")) <= 63
    assert len(name_of(of_kind(items, "StatefulSet")[0])) <= 63 - 11
    assert len(name_of(of_kind(items, "LeaderWorkerSet")[0])) <= 63 - 11 - 2
    assert text != render({"models": [model, group]}, release="r" * 52 + "s"), "names do not collide"


def test_values_that_the_examples_leave_unchanged() -> None:
    items = manifests(ALL_ELSE)
    images = {str(at(template, "spec", "containers", 0, "image")) for _, template in pod_templates(items)}
    (ingress,) = of_kind(items, "Ingress")

    assert images == {
        f"registry.example/drover/drover-frontend@sha256:{'0' * 64}",
        "registry.example/drover/drover-worker-cpu:7",
        f"registry.example/drover/drover-worker-sglang:{__version__}",
    }
    assert at(ingress, "spec", "rules", 0, "host") == "ollama.example"
    assert {name_of(item) for item in of_kind(items, "PersistentVolumeClaim")} == {
        "drover-frontend",
        "drover-shared",
    }
    assert '"secretKeyRef": {"name": "hub", "key": "token"}' in json.dumps(items)
    downloads = one(items, "NetworkPolicy", "drover-gated")
    assert 443 in [at(port, "port") for rule in rows(downloads, "spec", "egress") for port in _ports(rule)]


def _ports(rule: Json) -> list[Json]:
    return rows(rule, "ports") if isinstance(rule, dict) and "ports" in rule else []


def test_a_new_version_of_the_chart_restarts_nothing() -> None:
    for values in EXAMPLES.values():
        for _, template in pod_templates(manifests(values)):
            assert "helm.sh/chart" not in str(at(template, "metadata"))
            assert "app.kubernetes.io/version" not in str(at(template, "metadata"))


def test_a_model_on_a_gpu() -> None:
    pod = at(one(manifests({"models": [SGLANG]}), "Deployment", "drover-q"), "spec", "template", "spec")

    assert at(pod, "containers", 0, "resources", "limits") == {"memory": "64Gi", "nvidia.com/gpu": 1}


@pytest.mark.parametrize("release", ["1", "v1.2", "1.drover"])
def test_any_name_of_a_release_gives_names_that_services_may_have(release: str) -> None:
    services = of_kind([item for item in yaml.safe_load_all(render({}, release)) if item], "Service")

    assert len(services) == 2
    for service in services:
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name_of(service))


def test_the_default_fleet_and_an_update_fit_a_node_of_two_cores() -> None:
    """A cluster's own pods on a node of kind ask for 0.95 of them; an update has one more worker."""
    cores = {
        name: str(at(template, "spec", "containers", 0, "resources", "requests", "cpu"))
        for name, template in pod_templates(manifests({}))
    }
    millis = {name: int(text.removesuffix("m")) for name, text in cores.items() if text.endswith("m")}

    assert millis["drover-frontend"] + 2 * millis["drover-smollm2"] <= 1050


def test_an_update_may_take_an_old_pods_streams_and_then_the_models_load() -> None:
    items = manifests(EXAMPLES["gpu"])
    for name in ("drover-frontend", "drover-qwen3-32b"):
        spec = at(one(items, "Deployment", name), "spec")
        grace = int(str(at(spec, "template", "spec", "terminationGracePeriodSeconds")))
        assert int(str(at(spec, "progressDeadlineSeconds"))) > grace + 1800


def test_defaults_can_be_taken_away() -> None:
    for _, template in pod_templates(
        manifests({"frontend": {"resources": None}, "workerDefaults": {"resources": None}})
    ):
        assert at(template, "spec", "containers", 0, "resources") == {}


def test_a_variable_that_the_chart_proposes_can_be_ones_own() -> None:
    for _, template in pod_templates(manifests(ALL_ELSE)):
        names = [str(at(pair, "name")) for pair in rows(template, "spec", "containers", 0, "env")]
        assert len(names) == len(set(names))
    worker = at(one(manifests(ALL_ELSE), "Deployment", "drover-gated"), "spec", "template", "spec")
    assert environment(at(worker, "containers", 0))["HF_HOME"] == "/tmp/elsewhere"
