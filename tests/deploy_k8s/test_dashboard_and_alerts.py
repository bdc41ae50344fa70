"""Grafana's dashboard and the alert rules: each expression reads metrics and labels that both tiers have."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from scripts.grafana import dashboard as grafana_dashboard
from tests.deploy_k8s.manifests import ALL_ELSE, EXAMPLES, at, kind_of, manifests, name_of, of_kind
from tests.deploy_k8s.promql import SPECS, UnknownName, labels_of, metrics_of, parsed
from tests.support.processes import ROOT

_FOLDER = ROOT / "deploy" / "observability"
_DASHBOARD: dict[str, Any] = json.loads((_FOLDER / "dashboard.json").read_text())
_ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((_FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
_QUERIES = [
    pytest.param(target["expr"], target["legendFormat"], id=f"{panel['title']} {target['refId']}")
    for panel in _DASHBOARD["panels"]
    for target in panel.get("targets", [])
]


def test_the_dashboard_is_current() -> None:
    assert grafana_dashboard.main(["--check"]) == 0, "make dashboard"


@pytest.mark.parametrize(("expression", "legend"), _QUERIES)
def test_a_panel_reads_what_there_is(expression: str, legend: str) -> None:
    named = set(re.findall(r"{{(\w+)}}", legend))
    assert named <= labels_of(parsed(expression))


@pytest.mark.parametrize("name", _ALERTS)
def test_an_alert_reads_what_there_is(name: str) -> None:
    rule = _ALERTS[name]
    texts = " ".join(rule["annotations"].values())
    labels = labels_of(parsed(rule["expr"]))
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels


@pytest.mark.parametrize("name", _ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    rule = _ALERTS[name]
    page, _, section = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^##+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert section in anchors
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 80


def test_every_alert_is_tested() -> None:
    """By promtool, in `make lint-deploy`: it must fire."""
    cases = (_FOLDER / "alerts_test.yaml").read_text()
    assert set(re.findall(r'{labels: \'ALERTS{alertname="(\w+)"', cases)) == set(_ALERTS)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set().union(*(metrics_of(parsed(query.values[0])) for query in _QUERIES))  # type: ignore[arg-type]
    assert set(SPECS) - shown == set()


def test_choices_and_panels_are_of_metrics_that_there_are() -> None:
    (query,) = [item["definition"] for item in _DASHBOARD["templating"]["list"] if item["type"] == "query"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()  # type: ignore[union-attr]
    assert label in SPECS[metric].labels


def test_the_chart_installs_both() -> None:
    items = manifests(ALL_ELSE)
    (board,) = [item for item in of_kind(items, "ConfigMap") if "dashboard" in name_of(item)]
    (rules,) = of_kind(items, "PrometheusRule")

    assert json.loads(str(at(board, "data", "drover.json"))) == _DASHBOARD
    assert at(board, "metadata", "labels", "grafana_dashboard") == "1"
    assert at(board, "metadata", "namespace") == "monitoring"
    assert at(rules, "spec") == yaml.safe_load((_FOLDER / "alerts.yaml").read_text())
    assert at(rules, "metadata", "labels", "release") == "prometheus"
    assert not of_kind(manifests({}), "PrometheusRule")


def test_prometheus_shows_frontends_its_key() -> None:
    monitors = of_kind(manifests(ALL_ELSE), "ServiceMonitor")
    (of_frontends,) = [item for item in monitors if name_of(item).endswith("-frontend")]
    (of_workers,) = [item for item in monitors if item is not of_frontends]

    credentials = {"credentials": {"name": "scrape", "key": "key"}}
    assert at(of_frontends, "spec", "endpoints", 0, "authorization") == credentials
    assert "authorization" not in str(of_workers)
    assert "authorization" not in str(of_kind(manifests(EXAMPLES["gpu"]), "ServiceMonitor"))


def test_hosts_are_scraped() -> None:
    items = manifests(ALL_ELSE)
    (monitor,) = [item for item in of_kind(items, "ServiceMonitor") if name_of(item).endswith("-worker")]
    (service,) = [item for item in of_kind(items, "Service") if name_of(item).endswith("-host")]
    (hosts,) = [item for item in of_kind(items, "StatefulSet") if name_of(item).endswith("-host")]

    assert "host" in str(at(monitor, "spec", "selector", "matchExpressions"))
    assert "'name': 'metrics'" in str(at(service, "spec", "ports"))
    assert at(hosts, "spec", "template", "metadata", "annotations", "prometheus.io/scrape") == "true"
    port = at(hosts, "spec", "template", "metadata", "annotations", "prometheus.io/port")
    container = str(at(hosts, "spec", "template", "spec", "containers", 0))
    assert f"'name': 'metrics', 'containerPort': {port}" in container
    assert re.search(rf"'name': 'DROVER_HOST_METRICS_LISTEN', 'value': '[^']+:{port}'", container)


def test_the_command_of_the_documentation_gives_all_of_it() -> None:
    text = (ROOT / "docs" / "observe.md").read_text()
    (switches,) = re.findall(r"--set (serviceMonitor\S+)", text)
    (path, value) = re.findall(r"--set-json '(\S+)=(.+)'", text)[0]
    section, _, name = path.partition(".")
    values: dict[str, object] = {each.partition(".")[0]: {"enabled": True} for each in switches.split(",")}
    items = manifests({**values, section: {name: json.loads(value)}})

    assert {"ServiceMonitor", "PrometheusRule", "ConfigMap"} <= {kind_of(item) for item in items}


def test_panels_do_not_overlap() -> None:
    seen: set[tuple[int, int]] = set()
    for panel in _DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & seen, panel["title"]
        seen |= cells


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("sum(drover_frontend_nothing)", "no metric drover_frontend_nothing|neither tier has"),
        ("sum by (user) (drover_frontend_tasks)", "no label user"),
        ('drover_frontend_waiting_requests{worker="x"}', "no label worker"),
        ("rate(drover_frontend_tasks[5m])", "is a gauge"),
        ("sum(drover_frontend_ttft_seconds)", "neither tier has"),
        (
            "histogram_quantile(0.9, sum by (model) (rate(drover_frontend_ttft_seconds_bucket[5m])))",
            "no label le",
        ),
        ('rate(drover_frontend_errors_total{error="Full"}[5m])', "no error Full"),
        (
            "sum by (model) (drover_worker_kv_tokens) / sum by (instance) (drover_worker_kv_tokens)",
            "never equals",
        ),
    ],
)
def test_an_expression_that_reads_nothing_is_found(expression: str, reason: str) -> None:
    with pytest.raises(UnknownName, match=reason):
        labels_of(parsed(expression))
