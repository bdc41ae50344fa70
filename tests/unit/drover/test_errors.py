"""Error types and their mappings to protocols."""

from __future__ import annotations

import grpc
import pytest

from drover import errors
from drover.errors import ERROR_MAPPINGS, ERROR_TYPES, DroverError, mapping_of


def _error_types(root: type[DroverError]) -> list[type[DroverError]]:
    below = root.__subclasses__()
    return [error_type for child in below for error_type in _error_types(child)] if below else [root]


def test_every_error_type_has_a_mapping_and_nothing_else_has() -> None:
    assert set(ERROR_MAPPINGS) == set(_error_types(DroverError))


def test_error_types_are_found_by_name() -> None:
    assert {name: error_type.__name__ for name, error_type in ERROR_TYPES.items()} == {
        name: name for name in ERROR_TYPES
    }
    assert len(ERROR_TYPES) == len(ERROR_MAPPINGS)


def test_of_a_long_message_the_beginning_and_the_end_are_kept() -> None:
    """Messages quote values of requests, and these may have megabytes."""
    error = errors.InvalidRequest(f"invalid format: {'[]' * 1_000_000}; expected an object")

    assert len(error.message) <= 4096
    assert str(error) == error.message
    assert error.message.startswith("invalid format: [][]")
    assert error.message.endswith("[][]; expected an object")


@pytest.mark.parametrize("error_type", ERROR_MAPPINGS, ids=lambda error_type: error_type.__name__)
def test_a_mapping_is_an_error_in_every_protocol(error_type: type[DroverError]) -> None:
    answer = mapping_of(error_type("why"))

    assert answer.grpc is not grpc.StatusCode.OK
    assert 400 <= answer.http < 600
    # OpenAI's type of a rate limit is what it counts.
    assert answer.openai_type.endswith("_error") or error_type is errors.RateLimited
    assert answer.anthropic_type.endswith("_error") or answer.anthropic_type == "request_too_large"


@pytest.mark.parametrize(
    ("error_type", "status"),
    [
        (errors.InvalidRequest, 400),
        (errors.ModelNotFound, 404),
        (errors.BodyTooLarge, 413),
        (errors.ClientLeft, 499),
        (errors.InvalidOption, 500),
        (errors.TemplateFailed, 500),
        (errors.QueueFull, 503),
        (errors.DeadlineExceeded, 504),
    ],
)
def test_statuses_are_those_of_ollama(error_type: type[DroverError], status: int) -> None:
    assert mapping_of(error_type("why")).http == status


def test_a_failed_template_is_a_client_error_under_v1() -> None:
    others = [
        error_type
        for error_type, answer in ERROR_MAPPINGS.items()
        if answer.status(is_v1=True) != answer.http
    ]

    assert others == [errors.TemplateFailed]
    assert mapping_of(errors.TemplateFailed("why")).status(is_v1=True) == 400


def test_only_temporary_errors_have_retry_after() -> None:
    retried = {
        error_type for error_type, answer in ERROR_MAPPINGS.items() if answer.retry_after_seconds is not None
    }

    assert retried == {
        errors.WorkerUnreachable,
        errors.WorkerDraining,
        errors.QueueFull,
        errors.NoWorkerReady,
        errors.StoreUnavailable,
    }
