"""The table in docs/errors.md, from the error types and their mapping. `--check` only compares."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping

from drover.errors import (
    ERROR_MAPPINGS,
    AdapterMissing,
    BodyTooLarge,
    CapabilityMissing,
    ClientLeft,
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
    NotAuthenticated,
    NotOffered,
    NotPermitted,
    NotQueued,
    NotSignedIn,
    NotTransferable,
    NoWorkerReady,
    ProtocolBroken,
    QueueFull,
    RateLimited,
    ResponseNotFound,
    SourceFailed,
    StoreFull,
    StoreUnavailable,
    TemplateFailed,
    WorkerDraining,
    WorkerUnreachable,
)
from frontend.api.openai.errors import code_of
from scripts.generated_page import GeneratedPage, table

_RETRY = "Send the request again after Retry-After."
_ADVICE: Mapping[type[DroverError], str] = {
    WorkerUnreachable: _RETRY,
    WorkerDraining: _RETRY,
    EngineFailed: "Send the request again once; the worker's log has the cause.",
    AdapterMissing: "Send the request again; if it happens again, see the workers' logs and --max-adapters.",
    ProtocolBroken: "Send the request again once; check that frontend and worker have the same version.",
    QueueFull: f"{_RETRY} Lasting: add workers.",
    NoWorkerReady: f"{_RETRY} Lasting: check that a worker serves the model.",
    StoreUnavailable: f"{_RETRY} Lasting: check the database. Inference does not need it.",
    StoreFull: "Remove models, run `drover-host prune`, or give the store more room; then send it again.",
    RateLimited: f"{_RETRY} Lasting: ask the operator for a higher limit.",
    SourceFailed: f"{_RETRY} Lasting: check the source's address and the host's network.",
    DeadlineExceeded: "Ask for fewer tokens, or raise the timeout; the same request takes as long again.",
    InvalidRequest: "Correct the field that the message names.",
    BodyTooLarge: "Send less, such as smaller images, or raise the limit.",
    ModelNotFound: "Take a name from `/api/tags` or `/v1/models`.",
    InvalidOption: "Correct the option that the message names.",
    TemplateFailed: "Correct the model's template or the messages.",
    NotTransferable: "Start a worker with the model instead.",
    CapabilityMissing: "Use another model, or leave the feature out.",
    ConstraintRejected: "Simplify the schema or grammar as the message says.",
    ContextExceeded: "Shorten the conversation, or allow truncation.",
    EngineStalled: "Do not send the same request again; report it to the operator.",
    ResponseNotFound: "Use the key or the address that it was created with; it may have expired.",
    NotQueued: "Take the id from `X-Request-ID`; the request may have been sent to a worker.",
    NotSignedIn: "Do not call the route.",
    NotOffered: "Do not call the route, or call ollama.com itself.",
    NotAuthenticated: "Send a valid key; the operator makes them (`drover-frontend keys create`).",
    NotPermitted: "Use a key with the role that the message names.",
    ClientLeft: "Nothing: only logs and metrics have it.",
    InternalError: "Report it with the request id; the frontend's log has the traceback.",
}


def errors_table() -> str:
    return table(
        (
            "error",
            "meaning",
            "Ollama",
            "OpenAI",
            "Anthropic",
            "Retry-After",
            "gRPC",
            "what a client should do",
        ),
        (_row(error) for error in ERROR_MAPPINGS),
    )


def _row(error: type[DroverError]) -> tuple[str, ...]:
    mapping = ERROR_MAPPINGS[error]
    v1_status, code = mapping.status(is_v1=True), code_of(error("-"))
    return (
        f"`{error.__name__}`",
        meaning_of(error),
        str(mapping.http),
        f"{v1_status} `{mapping.openai_type}`{f', code `{code}`' if code else ''}",
        f"{v1_status} `{mapping.anthropic_type}`",
        _wait_of(error),
        mapping.grpc.name,
        _ADVICE[error],
    )


def _wait_of(error: type[DroverError]) -> str:
    if error is RateLimited:
        return "until it is admitted"
    seconds = ERROR_MAPPINGS[error].retry_after_seconds
    return "" if seconds is None else f"{seconds} s"


def meaning_of(error: type[DroverError]) -> str:
    """The first paragraph of its docstring."""
    return (inspect.getdoc(error) or "").partition("\n\n")[0]


PAGE = GeneratedPage("errors.md", {"errors": errors_table()}, task="errors-doc")


if __name__ == "__main__":
    sys.exit(PAGE.main(sys.argv[1:]))
