"""Errors of a request, grouped by what the caller can do about them.

    DroverError
    ├── RetryElsewhere   another worker may answer at once
    │   └── WorkerUnreachable, WorkerDraining, EngineFailed, ProtocolBroken, AdapterMissing
    ├── RetryLater       the same request may succeed later
    │   └── QueueFull, NoWorkerReady, StoreUnavailable, StoreFull, RateLimited, SourceFailed,
    │       DeadlineExceeded
    ├── NeverRetry       the request has to change
    │   └── InvalidRequest, BodyTooLarge, ModelNotFound, InvalidOption, TemplateFailed, NotTransferable,
    │       CapabilityMissing, ConstraintRejected, ContextExceeded, EngineStalled, NotQueued, NotSignedIn,
    │       NotOffered, NotAuthenticated, NotPermitted, ResponseNotFound
    ├── ClientLeft
    └── InternalError

The first paragraph of each docstring is the meaning in docs/errors.md.

`ERROR_MAPPINGS` maps each type to the status and error kind of every protocol. Routes deviate from it where
their protocol demands it: frontend/api/embeddings.py and frontend/api/openai/errors.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from drover.json_value import Json
from drover.redaction import redacted

# Longest message. It may quote values of a request, which can have megabytes: of a longer message the
# beginning and the end are kept, which tell what is wrong.
_MAX_CHARACTERS = 4096
_CUT = " ... "


class DroverError(Exception):
    """Base of all errors. `message` is shown to the client: what is wrong, with which value, what to do."""

    def __init__(self, message: str) -> None:
        message = redacted(message)
        if len(message) > _MAX_CHARACTERS:
            kept = (_MAX_CHARACTERS - len(_CUT)) // 2
            message = message[:kept] + _CUT + message[-kept:]
        super().__init__(message)
        self.message = message


class RetryElsewhere(DroverError):
    """Another worker may answer the same request at once."""


class WorkerUnreachable(RetryElsewhere):
    """There is no connection to the worker, or it broke.

    `is_lasting`: the worker never can serve this request, so waiting for it does not help.
    """

    def __init__(self, message: str, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class WorkerDraining(RetryElsewhere):
    """The worker is shutting down and takes no new requests."""


class EngineFailed(RetryElsewhere):
    """The engine failed while it had the request."""


class ProtocolBroken(RetryElsewhere):
    """The worker sent what the protocol between frontend and worker does not allow.

    `is_flood`: the worker sent more than any response to the request can have.
    """

    def __init__(self, message: str, is_flood: bool = False) -> None:
        super().__init__(message)
        self.is_flood = is_flood


class AdapterMissing(RetryElsewhere):
    """The worker does not have the adapter of the request, and could not be given it."""


class RetryLater(DroverError):
    """The same request may succeed later."""


class QueueFull(RetryLater):
    """The queue for the model is full, or a worker host runs as many pulls, pushes or uploads as it may.

    The default message is Ollama's, two spaces included (docs/reference/ollama-contract.md, "Errors").
    """

    def __init__(
        self, message: str = "server busy, please try again.  maximum pending requests exceeded"
    ) -> None:
        super().__init__(message)


class NoWorkerReady(RetryLater):
    """No worker that serves the model is ready."""


class StoreUnavailable(RetryLater):
    """The database is unreachable or full."""


class StoreFull(RetryLater):
    """The disk of a worker host is full, or its disk budget is used up."""


class RateLimited(RetryLater):
    """A limit of the client's key is reached.

    `limit`: its name. `wait_seconds`: how long until the request would be admitted.
    """

    def __init__(self, message: str, limit: str = "", wait_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.limit = limit
        self.wait_seconds = wait_seconds


class SourceFailed(RetryLater):
    """A registry or hub that models are pulled from does not answer, or answers with what it should not."""


class DeadlineExceeded(RetryLater):
    """The request took longer than the request timeout."""


class NeverRetry(DroverError):
    """The request has to change before it can succeed."""


class InvalidRequest(NeverRetry):
    """The body is malformed, or a field has a value that is not valid.

    `details`: machine-readable part, sent where the protocol has a field for it (Anthropic's).
    """

    def __init__(self, message: str, details: Mapping[str, Json] | None = None) -> None:
        super().__init__(message)
        self.details = details


class BodyTooLarge(NeverRetry):
    """The body is larger than the configured limit."""


class ModelNotFound(NeverRetry):
    """No model or preset has this name."""


class InvalidOption(NeverRetry):
    """An entry of `options`, `format` or `template` cannot be read."""


class TemplateFailed(NeverRetry):
    """The Go template cannot render this conversation.

    `message`: the template engine's own.
    """


class NotTransferable(NeverRetry):
    """The model cannot be pulled or pushed: workers bring their own weights."""


class CapabilityMissing(NeverRetry):
    """The model lacks what the request needs, such as tools, vision or embeddings."""


class ConstraintRejected(NeverRetry):
    """The engine cannot enforce this JSON schema or grammar."""


class ContextExceeded(NeverRetry):
    """The prompt is longer than the context, and truncation is off or not possible.

    `prompt_tokens` do not fit into `context_tokens`; 0 where they are not known.
    """

    def __init__(self, message: str, prompt_tokens: int = 0, context_tokens: int = 0) -> None:
        super().__init__(message)
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class EngineStalled(NeverRetry):
    """A worker stopped responding while it had the request, which is not sent to another one."""


class NotQueued(NeverRetry):
    """No request of this client with this id waits in this frontend."""


class NotSignedIn(NeverRetry):
    """The route is about an ollama.com account, which this server does not have."""


class NotOffered(NeverRetry):
    """The route belongs to ollama.com, and this server does not forward it."""


class NotAuthenticated(NeverRetry):
    """The request has no key, or one that is not valid, on a server with keys."""


class NotPermitted(NeverRetry):
    """The key's role or its models do not allow what the request asks for."""


class ResponseNotFound(NeverRetry):
    """No stored response of this client has this id."""


class ClientLeft(DroverError):
    """The client closed the connection before the response was complete."""


class InternalError(DroverError):
    """A defect of this server."""


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
    AdapterMissing: ErrorMapping(_CODE.ABORTED, 500, "api_error", "api_error"),
    QueueFull: ErrorMapping(_CODE.RESOURCE_EXHAUSTED, 503, "api_error", "overloaded_error", 1),
    NoWorkerReady: ErrorMapping(_CODE.UNAVAILABLE, 503, "api_error", "overloaded_error", _AWAY_SECONDS),
    StoreUnavailable: ErrorMapping(_CODE.UNAVAILABLE, 503, "api_error", "overloaded_error", _AWAY_SECONDS),
    StoreFull: ErrorMapping(_CODE.RESOURCE_EXHAUSTED, 507, "api_error", "api_error"),
    RateLimited: ErrorMapping(_CODE.RESOURCE_EXHAUSTED, 429, "requests", "rate_limit_error"),
    SourceFailed: ErrorMapping(_CODE.UNAVAILABLE, 500, "api_error", "api_error"),
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
    NotQueued: ErrorMapping(_CODE.NOT_FOUND, 404, "not_found_error", "not_found_error"),
    NotSignedIn: ErrorMapping(_CODE.UNAUTHENTICATED, 401, "api_error", "authentication_error"),
    NotOffered: ErrorMapping(_CODE.PERMISSION_DENIED, 403, "api_error", "permission_error"),
    NotAuthenticated: ErrorMapping(
        _CODE.UNAUTHENTICATED, 401, "invalid_request_error", "authentication_error"
    ),
    NotPermitted: ErrorMapping(_CODE.PERMISSION_DENIED, 403, "invalid_request_error", "permission_error"),
    ResponseNotFound: ErrorMapping(_CODE.NOT_FOUND, 404, "invalid_request_error", "not_found_error"),
    ClientLeft: ErrorMapping(_CODE.CANCELLED, 499, "api_error", "api_error"),
    InternalError: ErrorMapping(_CODE.INTERNAL, 500, "api_error", "api_error"),
}

ERROR_TYPES: dict[str, type[DroverError]] = {error_type.__name__: error_type for error_type in ERROR_MAPPINGS}


def mapping_of(error: DroverError) -> ErrorMapping:
    return ERROR_MAPPINGS[type(error)]


def retry_after_seconds(error: DroverError) -> int | None:
    """For the Retry-After header; None without one."""
    if isinstance(error, RateLimited):
        return max(1, math.ceil(error.wait_seconds))
    return mapping_of(error).retry_after_seconds


def internal_error(defect: BaseException) -> InternalError:
    """The error to report for an unhandled exception: its type only, since its text may quote a request."""
    return InternalError(f"internal error: {type(defect).__name__}")


def is_temporary(error: DroverError) -> bool:
    """True if the same request may succeed when the client sends it again."""
    return isinstance(error, RetryElsewhere | RetryLater) and not isinstance(error, DeadlineExceeded)
