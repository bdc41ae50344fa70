"""The generated pages of the documentation are those of the code."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from drover.errors import ERROR_MAPPINGS, DroverError
from engine_worker import metrics as worker
from frontend.observability import metrics as frontend
from frontend.routing.fleet import Fleet
from scripts import errors_doc, extras_doc, metrics_doc, settings_doc
from scripts.generated_page import GeneratedPage

_PAGES = [errors_doc.PAGE, extras_doc.PAGE, metrics_doc.PAGE, settings_doc.PAGE]


def _text(page: GeneratedPage) -> str:
    return page.path.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_a_generated_page_is_current(page: GeneratedPage) -> None:
    assert page.is_current(_text(page)), f"run 'make {page.task}'"


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_a_page_without_one_of_its_rows_is_stale(page: GeneratedPage) -> None:
    for part in page.parts.values():
        row = part.split("\n")[-1]
        assert not page.is_current(_text(page).replace(f"{row}\n", ""))


def test_a_page_without_the_place_of_a_part_is_refused() -> None:
    page = GeneratedPage("page", {"part": "new"}, task="page-doc")
    assert page.rewritten("a\n<!-- part -->\nold\n<!-- end -->\nb\n") == (
        "a\n<!-- part -->\nnew\n<!-- end -->\nb\n"
    )
    with pytest.raises(SystemExit, match=r"docs/page.*part"):
        page.rewritten("a\n")


@pytest.mark.parametrize("error", list(ERROR_MAPPINGS), ids=lambda error: error.__name__)
def test_every_error_has_a_meaning_of_its_own(error: type[DroverError]) -> None:
    meaning = errors_doc.meaning_of(error)
    assert re.fullmatch(r"[A-Z].*\.", meaning, re.DOTALL)
    assert [other for other in ERROR_MAPPINGS if errors_doc.meaning_of(other) == meaning] == [error]


def _no_workers() -> Fleet:
    fleet = SimpleNamespace(queues=SimpleNamespace(waiting_by_model={}), workers=list)
    return cast("Fleet", fleet)


async def test_a_frontend_exposes_the_documented_metrics_and_no_others() -> None:
    text = frontend.Metrics(_no_workers()).text().decode()
    exposed = {family.name: family.type for family in text_string_to_metric_families(text)}
    # Times at which series were made, which the library adds to counters and histograms.
    created = {name for name in exposed if name.endswith("_created")}
    documented = {metric.name: metric.kind for metric in frontend.METRICS}
    assert {name: kind for name, kind in exposed.items() if name not in created} == documented


def test_a_worker_exposes_the_documented_metrics_and_no_others() -> None:
    for metric in worker.METRICS:
        family = metric.family([(("smol",), 1.0)])
        assert (family.name, family.type) == (metric.name, metric.kind)
        assert [sample.labels for sample in family.samples] == [{"model": "smol"}]
