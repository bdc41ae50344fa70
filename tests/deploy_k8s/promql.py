"""What a PromQL expression reads, held against the metrics that both tiers have."""

from __future__ import annotations

import promql_parser as promql

from drover.errors import ERROR_MAPPINGS
from drover.metrics import MetricSpec
from engine_worker import metrics as worker
from engine_worker.host import metrics as host
from frontend.observability import metrics as frontend

SPECS = {spec.exposed_name: spec for spec in (*frontend.METRICS, *worker.METRICS, *host.METRICS)}
_PARTS = ("_bucket", "_sum", "_count")
# Prometheus adds them to each target.
_TARGET_LABELS = frozenset({"instance", "job"})
_OF_COUNTERS = frozenset({"rate", "irate", "increase"})
_ERRORS = frozenset(error.__name__ for error in ERROR_MAPPINGS)
# Grafana puts a duration and a regular expression there.
_VARIABLES = {"$__rate_interval": "5m", "$model": "smol"}


class UnknownName(Exception):
    """An expression reads a metric or label that neither tier has, or in a way that means nothing."""


def parsed(text: str) -> promql.Expr:
    for name, value in _VARIABLES.items():
        text = text.replace(name, value)
    return promql.parse(text)


def labels_of(expression: promql.Expr) -> frozenset[str]:
    """The labels of the expression's result. Raises UnknownName."""
    match expression:
        case promql.VectorSelector():
            return _selected(expression)
        case promql.MatrixSelector():
            return labels_of(expression.vector_selector)
        case promql.AggregateExpr():
            return _aggregated(expression)
        case promql.Call():
            return _called(expression)
        case promql.BinaryExpr():
            return _combined(expression)
        case promql.ParenExpr() | promql.UnaryExpr():
            return labels_of(expression.expr)
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
    raise UnknownName(f"{type(expression).__name__}: add it to {__name__}")


def metrics_of(expression: promql.Expr) -> set[str]:
    """The names of the metrics that it reads, as in docs/metrics.md."""
    found: set[str] = set()

    def visit(part: promql.Expr) -> None:
        if isinstance(part, promql.VectorSelector) and part.name:
            found.add(_spec(part.name).exposed_name)

    promql.walk(expression, visit)
    return found


def _spec(name: str) -> MetricSpec:
    base = next((name.removesuffix(part) for part in _PARTS if name.endswith(part)), name)
    if (known := SPECS.get(name)) and known.kind != "histogram":
        return known
    if (known := SPECS.get(base)) and known.kind == "histogram" and base != name:
        return known
    raise UnknownName(f"neither tier has a metric {name}")


def _selected(selector: promql.VectorSelector) -> frozenset[str]:
    assert selector.name
    labels = _TARGET_LABELS | set(_spec(selector.name).labels)
    if selector.name.endswith("_bucket"):
        labels |= {"le"}
    for matcher in selector.matchers.matchers:
        _require({matcher.name}, labels, selector.name)
        if matcher.name == "error" and matcher.op == promql.MatchOp.Equal and matcher.value not in _ERRORS:
            raise UnknownName(f"there is no error {matcher.value}")
    return frozenset(labels)


def _aggregated(expression: promql.AggregateExpr) -> frozenset[str]:
    labels = labels_of(expression.expr)
    modifier = expression.modifier
    if modifier is None:
        return frozenset()
    _require(set(modifier.labels), labels, expression.prettify())
    if modifier.type == promql.AggModifierType.By:
        return frozenset(modifier.labels)
    return labels - set(modifier.labels)


def _called(expression: promql.Call) -> frozenset[str]:
    name = expression.func.name
    results = [labels_of(argument) for argument in expression.args]
    labels = frozenset().union(*results) if results else frozenset[str]()
    if name in _OF_COUNTERS:
        for metric in metrics_of(expression):
            if SPECS[metric].kind == "gauge":
                raise UnknownName(f"{name} of {metric}, which is a gauge")
    if name == "histogram_quantile":
        _require({"le"}, labels, expression.prettify())
        return labels - {"le"}
    return frozenset() if name == "absent" else labels


def _combined(expression: promql.BinaryExpr) -> frozenset[str]:
    left, right = labels_of(expression.lhs), labels_of(expression.rhs)
    is_vector = not any(map(_is_scalar, (expression.lhs, expression.rhs)))
    if is_vector and expression.modifier is None and left != right:
        raise UnknownName(f"{expression.prettify()}: {sorted(left)} never equals {sorted(right)}")
    return left


def _is_scalar(expression: promql.Expr) -> bool:
    match expression:
        case promql.NumberLiteral():
            return True
        case promql.Call():
            return bool(expression.func.return_type == promql.ValueType.Scalar)
        case promql.BinaryExpr():
            return _is_scalar(expression.lhs) and _is_scalar(expression.rhs)
        case promql.ParenExpr() | promql.UnaryExpr():
            return _is_scalar(expression.expr)
    return False


def _require(wanted: set[str], labels: frozenset[str] | set[str], where: str) -> None:
    if unknown := wanted - labels:
        raise UnknownName(
            f"{where} has no label {', '.join(sorted(unknown))}, but {', '.join(sorted(labels))}"
        )
