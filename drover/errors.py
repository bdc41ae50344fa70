"""Errors of a request, grouped by what the caller can do about them.

    DroverError
    ├── RetryElsewhere        another worker may answer at once
    │   ├── WorkerUnreachable     no connection, or it broke
    │   ├── WorkerDraining        the worker is going away
    │   ├── EngineFailed          the engine broke down under this request
    │   └── ProtocolBroken        the worker violated the protocol
    ├── RetryLater            the same request may work in a while
    │   ├── QueueFull             too many requests wait already
    │   ├── NoWorkerReady         no worker serves the model right now
    │   ├── StoreUnavailable      the presets' database cannot be reached, or is full
    │   └── DeadlineExceeded      the request took longer than it may
    ├── NeverRetry            the request is at fault
    │   ├── InvalidRequest        malformed, or a value of the wrong kind
    │   ├── BodyTooLarge
    │   ├── ModelNotFound
    │   ├── InvalidOption         an entry of `options`, `format` or `template` that cannot be read
    │   ├── TemplateFailed        a Go template that cannot render this conversation
    │   ├── NotTransferable       a model that cannot be pulled or pushed
    │   ├── CapabilityMissing     this model cannot do that
    │   ├── ConstraintRejected    the engine cannot work with this schema or grammar
    │   ├── ContextExceeded       longer than the context, and not to be truncated
    │   ├── EngineStalled         a worker stopped while it had this request; no other one gets it
    │   ├── NotSignedIn           a route about an account; there are no accounts
    │   └── NotOffered            a route of ollama.com that is not passed on
    ├── ClientLeft            the client disconnected or cancelled
    └── InternalError         a defect of this program

`ERROR_MAPPINGS` maps each type to the status and error kind of every protocol. Routes deviate from it where
their protocol demands it: frontend/api/ollama/embed.py and frontend/api/openai/errors.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from drover.json_value import Json

# Longest message. It may quote values of a request, which can have megabytes: of a longer message the
# beginning and the end are kept, which tell what is wrong.
_MAX_CHARACTERS = 4096
_CUT = " ... "


class DroverError(Exception):
    """Base of all errors. `message` is shown to the client: what is wrong, with which value, what to do."""

    def __init__(self, message: str) -> None:
        if len(message) > _MAX_CHARACTERS:
            kept = (_MAX_CHARACTERS - len(_CUT)) // 2
            message = message[:kept] + _CUT + message[-kept:]
        super().__init__(message)
        self.message = message


class RetryElsewhere(DroverError):
    pass


class WorkerUnreachable(RetryElsewhere):
    """`is_lasting`: the worker never can serve this request, so waiting for it does not help."""

    def __init__(self, message: str, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class WorkerDraining(RetryElsewhere):
    pass


class EngineFailed(RetryElsewhere):
    pass


class ProtocolBroken(RetryElsewhere):
    """`is_flood`: the worker sent more than any response to the request can have."""

    def __init__(self, message: str, is_flood: bool = False) -> None:
        super().__init__(message)
        self.is_flood = is_flood


class RetryLater(DroverError):
    pass


class QueueFull(RetryLater):
    """Ollama's own message, two spaces included (docs/reference/ollama-contract.md, "Errors")."""

    def __init__(
        self, message: str = "server busy, please try again.  maximum pending requests exceeded"
    ) -> None:
        super().__init__(message)


class NoWorkerReady(RetryLater):
    pass


class StoreUnavailable(RetryLater):
    pass


class DeadlineExceeded(RetryLater):
    pass


class NeverRetry(DroverError):
    pass


class InvalidRequest(NeverRetry):
    """`details`: machine-readable part, sent where the protocol has a field for it (Anthropic's)."""

    def __init__(self, message: str, details: Mapping[str, Json] | None = None) -> None:
        super().__init__(message)
        self.details = details


class BodyTooLarge(NeverRetry):
    pass


class ModelNotFound(NeverRetry):
    pass


class InvalidOption(NeverRetry):
    pass


class TemplateFailed(NeverRetry):
    """`message`: the template engine's own."""


class NotTransferable(NeverRetry):
    pass


class CapabilityMissing(NeverRetry):
    pass


class ConstraintRejected(NeverRetry):
    pass


class ContextExceeded(NeverRetry):
    """`prompt_tokens` do not fit into `context_tokens`; 0 where they are unknown."""

    def __init__(self, message: str, prompt_tokens: int = 0, context_tokens: int = 0) -> None:
        super().__init__(message)
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class EngineStalled(NeverRetry):
    pass


class NotSignedIn(NeverRetry):
    pass


class NotOffered(NeverRetry):
    pass


class ClientLeft(DroverError):
    pass


class InternalError(DroverError):
    pass


@dataclass(frozen=True, slots=True)
class ErrorMapping:
    """How one error type is reported in each protocol. `retry_after_seconds`: for the Retry-After header. A
    full queue moves within a second; a lost worker takes longer to come back than a client's few quick
    attempts last.
    """

    grpc: grpc.StatusCode
    http: int
    openai_type: str
    anthropic_type: str
    retry_after_seconds: int | None = None
    v1_http: int | None = None
    """HTTP status under /v1, if it differs from the native routes'."""

    def status(self, is_v1: bool) -> int:
        return self.v1_http if is_v1 and self.v1_http is not None else self.http


_CODE = grpc.StatusCode
_AWAY_SECONDS = 5

# InvalidOption, TemplateFailed and NotTransferable are 500 over HTTP because Ollama answers so.
ERROR_MAPPINGS: dict[type[DroverError], ErrorMapping] = {
    WorkerUnreachable: ErrorMapping(_CODE.UNAVAILABLE, 503, "api_error", "overloaded_error", _AWAY_SECONDS),
    WorkerDraining: ErrorMapping(_CODE.UNAVAILABLE, 503, "api_error", "overloaded_error", _AWAY_SECONDS),
    EngineFailed: ErrorMapping(_CODE.ABORTED, 500, "api_error", "api_error"),
    ProtocolBroken: ErrorMapping(_CODE.ABORTED, 500, "api_error", "api_error"),
    QueueFull: ErrorMapping(_CODE.RESOURCE_EXHAUSTED, 503, "api_error", "overloaded_error", 1),
    NoWorkerReady: ErrorMapping(_CODE.UNAVAILABLE, 503, "api_error", "overloaded_error", _AWAY_SECONDS),
    StoreUnavailable: ErrorMapping(_CODE.UNAVAILABLE, 503, "api_error", "overloaded_error", _AWAY_SECONDS),
    DeadlineExceeded: ErrorMapping(_CODE.DEADLINE_EXCEEDED, 504, "api_error", "api_error"),
    InvalidRequest: ErrorMapping(
        _CODE.INVALID_ARGUMENT, 400, "invalid_request_error", "invalid_request_error"
    ),
    BodyTooLarge: ErrorMapping(_CODE.INVALID_ARGUMENT, 413, "invalid_request_error", "request_too_large"),
    ModelNotFound: ErrorMapping(_CODE.NOT_FOUND, 404, "not_found_error", "not_found_error"),
    InvalidOption: ErrorMapping(_CODE.INVALID_ARGUMENT, 500, "api_error", "api_error"),
    # Clients of /v1 send a request that got a 500 again, some for minutes.
    TemplateFailed: ErrorMapping(
        _CODE.INVALID_ARGUMENT, 500, "invalid_request_error", "invalid_request_error", v1_http=400
    ),
    NotTransferable: ErrorMapping(_CODE.NOT_FOUND, 500, "api_error", "api_error"),
    CapabilityMissing: ErrorMapping(
        _CODE.FAILED_PRECONDITION, 400, "invalid_request_error", "invalid_request_error"
    ),
    ConstraintRejected: ErrorMapping(
        _CODE.INVALID_ARGUMENT, 400, "invalid_request_error", "invalid_request_error"
    ),
    ContextExceeded: ErrorMapping(_CODE.OUT_OF_RANGE, 400, "invalid_request_error", "invalid_request_error"),
    # No status on which clients send a request again: each time it would stop another worker.
    EngineStalled: ErrorMapping(
        _CODE.FAILED_PRECONDITION, 422, "invalid_request_error", "invalid_request_error"
    ),
    NotSignedIn: ErrorMapping(_CODE.UNAUTHENTICATED, 401, "api_error", "authentication_error"),
    NotOffered: ErrorMapping(_CODE.PERMISSION_DENIED, 403, "api_error", "permission_error"),
    ClientLeft: ErrorMapping(_CODE.CANCELLED, 499, "api_error", "api_error"),
    InternalError: ErrorMapping(_CODE.INTERNAL, 500, "api_error", "api_error"),
}

ERROR_TYPES: dict[str, type[DroverError]] = {error_type.__name__: error_type for error_type in ERROR_MAPPINGS}


def mapping_of(error: DroverError) -> ErrorMapping:
    return ERROR_MAPPINGS[type(error)]


def internal_error(defect: BaseException) -> InternalError:
    """The error to report for an unhandled exception: its type only, since its text may quote a request."""
    return InternalError(f"internal error: {type(defect).__name__}")


def is_temporary(error: DroverError) -> bool:
    """True if the same request may succeed when the client sends it again."""
    return isinstance(error, RetryElsewhere | RetryLater) and not isinstance(error, DeadlineExceeded)
