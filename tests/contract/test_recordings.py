"""The recordings are whole, described, and free of traces of the machine that made them."""

from __future__ import annotations

import re

import pytest

from tests.contract.conftest import pytest_runtest_makereport
from tests.fakes.transcripts import RECORDED, RECORDINGS, SCRIPTED, header, rows

_EXCHANGES = {RECORDED: 278, SCRIPTED: 260, "ollama-0.33.0-2026-11-29.jsonl": 246}
# Home folders and temporary ones, addresses of mail, and keys.
_PERSONAL = re.compile(
    r"/(?:home|root|Users|tmp|work)/|[\w.]+@[\w-]+\.\w+|ssh-(?:rsa|ed25519) |BEGIN [A-Z ]*KEY"
)


def test_these_files_and_no_others() -> None:
    assert {path.name for path in RECORDINGS.glob("*.jsonl")} == set(_EXCHANGES)


@pytest.mark.parametrize(("name", "count"), _EXCHANGES.items())
def test_none_is_missing(name: str, count: int) -> None:
    assert len(rows(name)) == count


@pytest.mark.parametrize("name", _EXCHANGES)
def test_server_and_date_are_known(name: str) -> None:
    readme = (RECORDINGS / "README.md").read_text()
    described = header(name)

    assert described["server"].startswith("Ollama 0.33")
    assert f"| `{name}` | Ollama 0.33" in readme
    assert described["recorded"] in name


@pytest.mark.parametrize("name", _EXCHANGES)
def test_nothing_personal_is_in_them(name: str) -> None:
    assert _PERSONAL.findall((RECORDINGS / name).read_text()) == []


def test_a_missing_recording_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        rows("no-such-recording.jsonl")


def test_an_empty_list_of_cases_is_an_error(pytestconfig: pytest.Config) -> None:
    """By default pytest skips a test without cases."""
    assert pytestconfig.getini("empty_parameter_set_mark") == "fail_at_collect"


def test_a_skipped_contract_test_fails() -> None:
    location = ("test_recordings.py", 1, "a test")
    skipped = pytest.TestReport("a test", location, {}, "skipped", "no recordings", "call")
    report = pytest_runtest_makereport()
    next(report)
    with pytest.raises(StopIteration) as ended:
        report.send(skipped)

    assert ended.value.value.outcome == "failed"
