"""Write dashboard.json of deploy/observability from the panels here: `make dashboard`, `--check` for CI."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from drover.json_value import Json
from scripts.grafana.base import Panel, Row
from scripts.grafana.clients import KEYS, LATENCY, QUEUE, REQUESTS, ROUTER
from scripts.grafana.fleet import FAILURES, FRONTENDS, WORKERS
from scripts.grafana.hosts import HOSTS

DASHBOARD = Path(__file__).resolve().parents[2] / "deploy" / "k8s" / "chart" / "files" / "dashboard.json"
_SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
_ROWS = (REQUESTS, LATENCY, QUEUE, WORKERS, HOSTS, FAILURES, FRONTENDS, KEYS, ROUTER)
_COLUMNS, _WIDTH, _HEIGHT = 3, 8, 8
# Grafana's schema of dashboards that versions 9 to 12 read.
_SCHEMA_VERSION = 39


def dashboard() -> dict[str, Json]:
    return {
        "uid": "drover",
        "title": "Drover",
        "description": "Frontends and engine workers. docs/metrics.md has the meaning of each metric.",
        "tags": ["drover", "llm"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_data_source_choice(), _model_choice()]},
        "panels": list(_panels()),
    }


def _data_source_choice() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _model_choice() -> Json:
    """Its `.*` for all models includes requests without a model."""
    query = "label_values(drover_frontend_worker_ready, model)"
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "model"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[Json]:
    """Rows of three panels, below a heading each."""
    number, top = 1, 0
    for row in _ROWS:
        yield _heading(row, number, top)
        number, top = number + 1, top + 1
        for position, panel in enumerate(row.panels):
            line, column = divmod(position, _COLUMNS)
            yield _plot(panel, number, column * _WIDTH, top + line * _HEIGHT)
            number += 1
        top += -(-len(row.panels) // _COLUMNS) * _HEIGHT


def _heading(row: Row, number: int, top: int) -> Json:
    place: Json = {"x": 0, "y": top, "w": _COLUMNS * _WIDTH, "h": 1}
    return {
        "id": number,
        "type": "row",
        "title": row.title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _plot(panel: Panel, number: int, left: int, top: int) -> Json:
    lines: Json = {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 10}}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": {"x": left, "y": top, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": lines, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": _SOURCE,
                "expr": query.promql,
                "legendFormat": query.legend,
            }
            for position, query in enumerate(panel.queries)
        ],
    }


def main(arguments: Sequence[str]) -> int:
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" not in arguments:
        DASHBOARD.write_text(text, encoding="utf-8")
        return 0
    if not DASHBOARD.exists() or DASHBOARD.read_text(encoding="utf-8") != text:
        print("deploy/observability/dashboard.json is out of date: run 'make dashboard'", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
