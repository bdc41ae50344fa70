"""What the chart gives, as objects."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import yaml

from scripts.render_chart import Values, examples, render

# As YAML has it; a test that looks at a field that is not there fails with a TypeError or KeyError.
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Manifest = dict[str, Json]

EXAMPLES = examples()
POSTGRES: Values = {"database": {"existingSecret": {"name": "drover-database"}}}
SGLANG: Values = {
    "name": "q",
    "engine": "sglang",
    "model": "Qwen/Qwen3-8B",
    "gpus": 1,
    "allowDownloads": True,
    "resources": {"limits": {"memory": "64Gi"}},
}
CUSTOM_KINDS = frozenset(
    {"ScaledObject", "ServiceMonitor", "PrometheusRule", "LeaderWorkerSet", "Issuer", "Certificate"}
)
# Everything that the examples leave alone.
ALL_ELSE: Values = {
    "imageRegistry": "registry.example/drover/",
    "images": {"frontend": {"digest": f"sha256:{'0' * 64}"}, "llamacpp": {"tag": "7"}},
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "pull"}],
    "listenHost": "[::]",
    "discovery": "endpointslices",
    "keys": {"require": True},
    "frontend": {
        "persistence": {"enabled": True, "storageClass": "fast"},
        "service": {"port": 80, "annotations": {"a": "b"}},
        "env": [{"name": "TZ", "value": "UTC"}],
        "settings": {"max_queue": 9},
        "podAnnotations": {"a": "b"},
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "host": "ollama.example",
        "tlsSecret": "tls",
        "annotations": {"a": "b"},
    },
    "networkPolicy": {
        "frontendFrom": [{"podSelector": {}}],
        "metricsFrom": [{"namespaceSelector": {}}],
        "workerTo": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    },
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "keySecret": {"name": "scrape"},
    },
    "alerts": {"enabled": True, "labels": {"release": "prometheus"}},
    "grafanaDashboard": {"enabled": True, "namespace": "monitoring"},
    "serviceAccount": {"annotations": {"a": "b"}},
    "hosts": {
        "enabled": True,
        "registrySecret": "registries",
        "hubTokenSecret": {"name": "hub"},
        "store": {"size": "10Gi", "storageClass": "fast"},
        "env": [{"name": "TZ", "value": "UTC"}],
        "podAnnotations": {"a": "b"},
        "priorityClassName": "high",
    },
    "models": [
        {
            "name": "shared",
            "replicas": 3,
            "modelCache": {"enabled": True, "accessModes": ["ReadWriteMany"], "storageClass": "nfs"},
            "env": [{"name": "TZ", "value": "UTC"}],
            "runtimeClassName": "gvisor",
            "podAnnotations": {"a": "b"},
            "nodeSelector": {"a": "b"},
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "preStopSeconds": 0,
        },
        {
            "name": "gated",
            "engine": "sglang",
            "model": "example/gated",
            "allowDownloads": True,
            "hubTokenSecret": {"name": "hub"},
            "env": [{"name": "HF_HOME", "value": "/tmp/elsewhere"}],
            "resources": {"limits": {"memory": "64Gi"}},
        },
    ],
}
_WORKLOADS = ("Deployment", "StatefulSet")


def manifests(*values: Values) -> list[Manifest]:
    """Later ones are laid over earlier ones; lists replace each other."""
    merged: dict[str, object] = {}
    for each in values:
        merged = _laid_over(merged, each)
    return [item for item in yaml.safe_load_all(render(merged)) if item]


def _laid_over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        merged[key] = _laid_over(known, value) if both else copy.deepcopy(value)  # type: ignore[arg-type] # as asked before
    return merged


def at(item: Json, *path: str | int) -> Json:
    """What is there, below keys and positions."""
    for step in path:
        if isinstance(item, dict):
            item = item[str(step)]
        elif isinstance(item, list) and isinstance(step, int):
            item = item[step]
        else:
            raise KeyError(f"nothing at {step} of {path}")
    return item


def rows(item: Json, *path: str | int) -> list[Json]:
    found = at(item, *path)
    assert isinstance(found, list)
    return found


def kind_of(item: Manifest) -> str:
    return str(item["kind"])


def name_of(item: Json) -> str:
    return str(at(item, "metadata", "name"))


def of_kind(items: Sequence[Manifest], kind: str) -> list[Manifest]:
    return [item for item in items if item["kind"] == kind]


def one(items: Sequence[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [item for item in of_kind(items, kind) if name_of(item) == name]
    return found


def pod_templates(items: Sequence[Manifest]) -> Iterator[tuple[str, Json]]:
    """Also those of a LeaderWorkerSet; each with its workload's name."""
    for item in items:
        if item["kind"] in _WORKLOADS:
            yield name_of(item), at(item, "spec", "template")
        if item["kind"] == "LeaderWorkerSet":
            for role in ("leaderTemplate", "workerTemplate"):
                yield name_of(item), at(item, "spec", "leaderWorkerTemplate", role)


def environment(container: Json) -> dict[str, str]:
    """Variables with a value of their own, not those from Secrets."""
    pairs = rows(container, "env")
    return {
        str(at(pair, "name")): str(at(pair, "value"))
        for pair in pairs
        if isinstance(pair, dict) and "value" in pair
    }
