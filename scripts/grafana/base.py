"""Rows of panels, each with its queries in PromQL.

A query's `$model` is the dashboard's choice of models. Frontends and workers each report their own numbers,
so a query sums over them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """In PromQL. `legend`: the name of each line, with `{{label}}`."""

    promql: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit`: one of Grafana's; `help`: what it shows and what to do about it."""

    title: str
    unit: str
    help: str
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def sum_of_rate(metric: str, by: str, matchers: str = 'model=~"$model"') -> str:
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def sum_of(metric: str, by: str = "model") -> str:
    return f'sum by ({by}) ({metric}{{model=~"$model"}})'


def average(metric: str) -> str:
    return f'avg by (model) ({metric}{{model=~"$model"}})'


def quantiles(metric: str) -> tuple[Query, ...]:
    buckets = sum_of_rate(f"{metric}_bucket", "le, model")
    return tuple(
        Query(f"histogram_quantile({share}, {buckets})", f"{{{{model}}}} p{round(share * 100)}")
        for share in (0.5, 0.95, 0.99)
    )


def by_worker(metric: str) -> str:
    """Of what each frontend says of a worker, the largest."""
    return f'max by (worker, model) ({metric}{{model=~"$model"}})'
