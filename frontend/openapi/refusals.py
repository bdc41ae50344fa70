"""The errors that an operation may answer with, as the table in drover/errors.py has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from drover.errors import (
    ANSWERS,
    BodyTooLarge,
    CapabilityMissing,
    ConstraintRejected,
    ContextExceeded,
    DeadlineExceeded,
    DroverError,
    EngineFailed,
    EngineStalled,
    InternalError,
    InvalidOption,
    InvalidRequest,
    ModelNotFound,
    NotOffered,
    NotSignedIn,
    NotTransferable,
    NoWorkerReady,
    ProtocolBroken,
    QueueFull,
    StoreUnavailable,
    TemplateFailed,
    WorkerDraining,
    WorkerUnreachable,
)
from frontend.openapi.answers import JSON, Answers, answer
from frontend.openapi.schemas import Schema, integer, ref

Leaf = type[DroverError]

# ClientLeft is not among them: nobody is there to see it.
REASONS: Mapping[Leaf, str] = {
    WorkerUnreachable: "the engine worker cannot be reached, or went away under the request",
    WorkerDraining: "the engine worker, or this server, is about to stop",
    EngineFailed: "the engine failed under this request",
    ProtocolBroken: "the worker sent what it may not send",
    EngineStalled: "a worker made no progress any more with this request, which no other one gets",
    QueueFull: "too many requests wait already",
    NoWorkerReady: "no engine worker that serves the model is ready",
    StoreUnavailable: "the presets' database cannot be reached, or is full",
    DeadlineExceeded: "the body did not arrive in time, or the answer took longer than it may",
    InvalidRequest: "no body, no JSON, or a value of the wrong kind, out of range or not possible here",
    BodyTooLarge: "the body is longer than this server takes",
    ModelNotFound: "there is no such model",
    InvalidOption: "an entry of `options`, `format`, `template` or `quantize` that cannot be read or done",
    TemplateFailed: "the Go template cannot render this conversation",
    NotTransferable: "nothing is downloaded, and nothing is pushed to a registry",
    CapabilityMissing: "the model cannot do what is asked for",
    ConstraintRejected: "the engine cannot work with the schema in `format`",
    ContextExceeded: "longer than the model's context, and not to be truncated",
    NotSignedIn: "there are no accounts here",
    NotOffered: "a model or a service of ollama.com, to which nothing is passed on",
    InternalError: "a fault of this server",
}

READING: Sequence[Leaf] = (InvalidRequest, BodyTooLarge, DeadlineExceeded, InternalError)
FINDING: Sequence[Leaf] = (ModelNotFound, NoWorkerReady, StoreUnavailable)
ENGINE: Sequence[Leaf] = (
    CapabilityMissing,
    ContextExceeded,
    InvalidOption,
    TemplateFailed,
    EngineFailed,
    ProtocolBroken,
    EngineStalled,
    WorkerUnreachable,
    WorkerDraining,
    QueueFull,
)
_NATIVE_ERROR = "Error"


def refusals(
    leaves: Iterable[Leaf], elsewhere: Mapping[Leaf, int] | None = None, error: str = _NATIVE_ERROR
) -> Answers:
    """`elsewhere`: leaves that have another status on a route than in the table; `error`: the schema of the
    dialect's body, which is another one under /v1.
    """
    is_v1 = error != _NATIVE_ERROR
    by_status: dict[int, list[Leaf]] = {}
    for leaf in dict.fromkeys(leaves):
        by_status.setdefault((elsewhere or {}).get(leaf, ANSWERS[leaf].status(is_v1)), []).append(leaf)
    return {status: _refusal(status, found, error) for status, found in by_status.items()}


def _refusal(status: int, leaves: Sequence[Leaf], error: str) -> Schema:
    reasons = "".join(f"\n- {REASONS[leaf]}" for leaf in leaves)
    description = f"{HTTPStatus(status).phrase}:\n{reasons}"
    waits = [ANSWERS[leaf].retry_after_seconds for leaf in leaves]
    if not any(waits):
        return answer(description, {JSON: ref(error)})
    retry_after: Schema = {
        "description": "Seconds after which the same request may work.",
        "required": all(waits),
        "schema": integer(minimum=1),
    }
    return answer(description, {JSON: ref(error)}, {"Retry-After": retry_after})
