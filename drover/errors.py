"""What can go wrong with a request, named by what the caller can do about it.

    DroverError
    ├── RetryElsewhere        another worker may answer at once
    │   ├── WorkerUnreachable     no connection, or it broke
    │   ├── WorkerDraining        the worker is going away
    │   ├── EngineFailed          the engine broke down under this request
    │   └── ProtocolBroken        the worker sent what it may not send
    ├── RetryLater            the same request may work in a while
    │   ├── QueueFull             too many requests wait already
    │   ├── NoWorkerReady         nobody serves the model right now
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
    ├── ClientLeft            nobody is there to be answered
    └── InternalError         our fault

`ANSWERS` is the one table from this tree to every protocol; nothing else chooses a status code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from drover.json_value import Json

# Of a message. Values of requests are quoted in it, and they may have megabytes: of a longer message the
# beginning and the end are kept, which say what is wrong.
_MOST_CHARACTERS = 4096
_CUT = " ... "


class DroverError(Exception):
    """`message` is for the client: what is wrong, with which value, what to do."""

    def __init__(self, message: str) -> None:
        if len(message) > _MOST_CHARACTERS:
            kept = (_MOST_CHARACTERS - len(_CUT)) // 2
            message = message[:kept] + _CUT + message[-kept:]
        super().__init__(message)
        self.message = message


class RetryElsewhere(DroverError):
    pass


class WorkerUnreachable(RetryElsewhere):
    """`is_lasting`: for this request the worker does not come back, so waiting for it does not help."""

    def __init__(self, message: str, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class WorkerDraining(RetryElsewhere):
    pass


class EngineFailed(RetryElsewhere):
    pass


class ProtocolBroken(RetryElsewhere):
    """`is_flood`: more than an honest worker could send, whatever the request."""

    def __init__(self, message: str, is_flood: bool = False) -> None:
        super().__init__(message)
        self.is_flood = is_flood


class RetryLater(DroverError):
    pass


class QueueFull(RetryLater):
    """In Ollama's words, two spaces included (ollama-contract.md, "Errors")."""

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
    """`details`: what programs read of it, where the protocol has a place for that (Anthropic's)."""

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
    """In the template's words."""


class NotTransferable(NeverRetry):
    pass


class CapabilityMissing(NeverRetry):
    pass


class ConstraintRejected(NeverRetry):
    pass


class ContextExceeded(NeverRetry):
    """`prompt_tokens` do not fit into `context_tokens`, where both are known."""

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
    """How one leaf looks in each protocol. `retry_after_seconds` becomes a Retry-After header: a full queue
    moves within a second, while a worker that is gone takes longer to come back than a client's few quick
    attempts last.
    """

    grpc: grpc.StatusCode
    http: int
    openai_type: str
    anthropic_type: str
    retry_after_seconds: int | None = None
    v1_http: int | None = None
    """Under /v1, where that is another status than on the native routes."""

    def status(self, is_v1: bool) -> int:
        return self.v1_http if is_v1 and self.v1_http is not None else self.http


_CODE = grpc.StatusCode
_AWAY_SECONDS = 5

# InvalidOption, TemplateFailed and NotTransferable are 500 over HTTP because Ollama answers so.
ANSWERS: dict[type[DroverError], ErrorMapping] = {
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

LEAVES: dict[str, type[DroverError]] = {leaf.__name__: leaf for leaf in ANSWERS}


def answer_of(error: DroverError) -> ErrorMapping:
    return ANSWERS[type(error)]


def unforeseen(defect: BaseException) -> InternalError:
    """What is said of a defect of ours: its kind, and nothing of its text, which may quote a request."""
    return InternalError(f"internal error: {type(defect).__name__}")


def is_passing(error: DroverError) -> bool:
    """Whether the same request may succeed when its client sends it again."""
    return isinstance(error, RetryElsewhere | RetryLater) and not isinstance(error, DeadlineExceeded)
