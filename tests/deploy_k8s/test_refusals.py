"""What the Helm chart refuses, and in which words."""

from __future__ import annotations

import helm_python as helm
import pytest

from scripts.render_chart import Values, render
from tests.deploy_k8s.manifests import POSTGRES, SGLANG

_REFUSED: list[tuple[Values, str]] = [
    ({"frontend": {"autoscaling": {"maxReplicas": 2}}}, "several frontends need PostgreSQL"),
    (
        {"frontend": {"replicas": 2, "autoscaling": {"enabled": False}}},
        "several frontends need PostgreSQL",
    ),
    ({"database": {"url": "sqlite:///x"}}, "database"),
    (
        {"database": {"url": "postgresql://h/d", "existingSecret": {"name": "s"}}},
        "both set: which one is it?",
    ),
    (
        {**POSTGRES, "frontend": {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}},
        "larger than maxReplicas",
    ),
    ({"serviceMonitor": {"enabled": True}}, "networkPolicy.metricsFrom"),
    (
        {"serviceMonitor": {"enabled": True}, "metrics": {"enabled": False}},
        "serviceMonitor.enabled needs metrics.enabled",
    ),
    ({"alerts": {"enabled": True}, "metrics": {"enabled": False}}, "alerts.enabled needs metrics.enabled"),
    ({"ingress": {"enabled": True}}, "ingress.enabled needs ingress.host"),
    (
        {"tls": {"enabled": True, "fleet": {"workerSecret": "w"}}},
        "set both frontendSecret and workerSecret",
    ),
    (
        {"tls": {"enabled": True, "fleet": {"workerSecret": "w", "frontendSecret": "f"}}},
        "tls.https needs secret or issuer.name",
    ),
    ({"tls": {"enabled": True}, "metrics": {"port": 50052}}, "metrics.port is 50052"),
    ({"tls": {"enabled": True, "duration": "90 days"}}, "duration"),
    ({"models": []}, "models"),
    ({"models": [{"name": "a"}, {"name": "a"}]}, 'two models are called "a"'),
    ({"models": [{"name": "frontend"}]}, "cannot be called frontend"),
    ({"models": [{"name": "Big_Model"}]}, "name"),
    ({"models": [{"name": "a", "engine": "vllm"}]}, "engine"),
    ({"models": [{"name": "a", "engine": "sglang"}]}, "sglang needs a model"),
    ({"models": [{"name": "a", "sglangArgs": "--tp-size 2"}]}, "sglangArgs says nothing to llamacpp"),
    ({"models": [{"name": "a", "nodes": 2}]}, "only sglang runs over several nodes, not llamacpp"),
    (
        {
            "models": [
                {"name": "a", "nodes": 2, "engine": "sglang", "model": "m", "modelCache": {"enabled": True}}
            ]
        },
        "name a claim",
    ),
    (
        {"models": [{"name": "a", "replicas": 2, "modelCache": {"enabled": True}}]},
        "set kind: StatefulSet",
    ),
    (
        {"models": [{"name": "a", "autoscaling": {"hpa": {"enabled": True}, "keda": {"enabled": True}}}]},
        "enable one of them",
    ),
    (
        {"models": [{"name": "a", "autoscaling": {"hpa": {"enabled": True, "minReplicas": 5}}}]},
        "minReplicas is larger than maxReplicas",
    ),
    (
        {"models": [{"name": "a", "names": ["a"], "autoscaling": {"keda": {"enabled": True}}}]},
        "needs keda.prometheusAddress",
    ),
    (
        {
            "keda": {"prometheusAddress": "http://p:9090"},
            "models": [{"name": "a", "autoscaling": {"keda": {"enabled": True}}}],
        },
        "needs names",
    ),
    ({"models": None}, "models is empty"),
    ({"frontend": {"replicas": 2}}, "frontend: replicas is 2, but its autoscaling is enabled"),
    (
        {"models": [{"name": "a", "replicas": 4, "autoscaling": {"hpa": {"enabled": True}}}]},
        "model a: replicas is 4, but its autoscaling is enabled",
    ),
    ({"models": [{**SGLANG, "allowDownloads": False}]}, "Qwen/Qwen3-8B is nowhere and may not be fetched"),
    ({"models": [{**SGLANG, "resources": {}}]}, "(2Gi) is not above sharedMemorySize (8Gi)"),
    (
        {"models": [{"name": "a", "resources": {"requests": {"memory": "4Gi"}}}]},
        "model a: resources.requests.memory (4Gi) is above resources.limits.memory (2Gi)",
    ),
    (
        {"frontend": {"resources": {"limits": {"memory": 1000000}}}},
        "frontend: resources.requests.memory (256Mi) is above",
    ),
    (
        {"frontend": {"settings": {"request_timeout_seconds": 5}}},
        "frontend: DROVER_FRONTEND_REQUEST_TIMEOUT_SECONDS would be set twice",
    ),
    (
        {"models": [{"name": "a", "settings": {"keep-alive": "5m"}}]},
        "model a: DROVER_WORKER_KEEP_ALIVE would be set twice",
    ),
    (
        {"models": [{"name": "a", "env": [{"name": "DROVER_WORKER_LISTEN", "value": "x"}]}]},
        "model a: DROVER_WORKER_LISTEN would be set twice",
    ),
    ({"metrics": {"port": 50051}}, "metrics.port is 50051"),
    ({"hosts": {"enabled": True}, "metrics": {"port": 50061}}, "metrics.port is 50061"),
    ({"hosts": {"enabled": True}, "metrics": {"port": 50163}}, "metrics.port is 50163"),
    ({"hosts": {"enabled": True, "memoryMib": 8192}}, "not below hosts.resources.limits.memory"),
    (
        {"models": [{**SGLANG, "nodes": 2}, {"name": "q-leaders"}]},
        "model q-leaders: model q has a Service of that name",
    ),
    (
        {
            "keda": {"prometheusAddress": "http://p:9090"},
            "models": [{"name": "a", "names": ["a"], "autoscaling": {"keda": {"enabled": True}}}],
        },
        "say who may in networkPolicy.metricsFrom",
    ),
    (
        {
            "models": [
                {
                    "name": "a",
                    "autoscaling": {
                        "hpa": {
                            "enabled": True,
                            "metrics": [
                                {
                                    "type": "Pods",
                                    "pods": {"metric": {"name": "drover_worker_waiting_requests"}},
                                }
                            ],
                        }
                    },
                }
            ]
        },
        "say who may in networkPolicy.metricsFrom",
    ),
    ({"longestStreamSeconds": 0}, "longestStreamSeconds"),
    ({"replicaCount": 3}, "replicaCount"),
    ({"frontend": {"settings": {"max queue": 3}}}, "max queue"),
]


@pytest.mark.parametrize(("values", "words"), _REFUSED)
def test_values_that_cannot_work_are_refused_with_a_reason(values: Values, words: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render(values)

    assert words in str(refused.value)
