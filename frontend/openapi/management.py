"""/api/create, copy, delete, pull, push and blobs."""

from __future__ import annotations

from http import HTTPStatus

from drover.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InternalError,
    InvalidOption,
    InvalidRequest,
    ModelNotFound,
    NotTransferable,
    NoWorkerReady,
    StoreUnavailable,
)
from frontend.openapi.answers import JSON, NDJSON, Answers, answer, json_body, ok, operation
from frontend.openapi.fields import MODEL, OLD_NAME, STREAM
from frontend.openapi.refusals import FINDING, READING, Leaf, refusals
from frontend.openapi.schemas import (
    Schema,
    any_of,
    array,
    boolean,
    integer,
    mapping,
    named_by_either,
    or_null,
    ref,
    request,
    struct,
    text,
)

_FILES = mapping(or_null(text("A blob's digest.")), "Weights. They are refused with the reason.")
_TRANSFER: dict[str, Schema] = {
    "model": MODEL,
    "name": OLD_NAME,
    "stream": STREAM,
    "insecure": boolean("Read, and not used.", default=False),
}
_CREATE: dict[str, Schema] = {
    "model": {**MODEL, "description": "The name of the preset to make."},
    "name": OLD_NAME,
    "from": text("The model that it is made from: a served one, or another preset.", default=""),
    "stream": STREAM,
    "template": text("A Go template, or the model's own as `show` prints it.", default=""),
    "system": text(default=""),
    "license": any_of(text(), array(or_null(text())), about="Added to those of `from`."),
    "parameters": mapping({}, "Options, over those of `from`. They are read when the preset is used."),
    "messages": array(
        or_null(ref("Message")), "Examples that every chat begins with.", maxItems=20_000, default=[]
    ),
    "files": _FILES,
    "adapters": _FILES,
    "quantize": text("Refused with status 500.", default=""),
    "quantization": text("What old clients send in place of `quantize`.", default=""),
    "draft_files": _FILES,
    "draft_quantize": text("Refused: speculative decoding is set where a worker starts.", default=""),
    "renderer": text("Refused: the model's chat template makes the prompts.", default=""),
    "parser": text("Refused: workers find the parsers of a template.", default=""),
    "requires": text("A version of Ollama; refused where it is newer than this server's.", default=""),
    "remote_host": text("Refused: other hosts' models are the operator's to name.", default=""),
    "info": mapping({}, "Checked; what upstream would set is refused: workers say what a model is."),
}
_PROGRESS: dict[str, Schema] = {
    "status": text(examples=["success"]),
    "digest": text("What is there, or was fetched.", pattern="^sha256:"),
    "total": integer("Its bytes.", minimum=0),
    "completed": integer("Those that are there.", minimum=1),
}
_DIGEST: Schema = {
    "name": "digest",
    "in": "path",
    "required": True,
    "schema": text(pattern="^sha256[:-][0-9a-fA-F]{64}$"),
}

SCHEMAS: dict[str, Schema] = {
    "CreateRequest": named_by_either(_CREATE),
    "CopyRequest": request({"source": MODEL, "destination": MODEL}, ["source", "destination"]),
    "DeleteRequest": named_by_either({"model": MODEL, "name": OLD_NAME}),
    "PullRequest": named_by_either(_TRANSFER),
    "PushRequest": named_by_either(_TRANSFER),
    "Progress": struct(_PROGRESS, ["status"]),
}


def _in_steps(*, can_succeed: bool = True) -> Answers:
    lines = any_of(
        ref("Progress"), ref("Error"), about="One line. The last one says `success`, or is an error."
    )
    content = {NDJSON: lines, **({JSON: ref("Progress")} if can_succeed else {})}
    return ok("Lines, or the last one alone if `stream` is false.", content)


def _managing(operation_id: str, summary: str, success: Answers, name: str, *leaves: Leaf) -> Schema:
    return operation(
        operation_id, "presets", summary, success, refusals([*READING, *leaves]), body=json_body(ref(name))
    )


_BLOB = operation(
    "hasBlob",
    "presets",
    "Whether a blob is there",
    ok("It is."),
    {HTTPStatus.NOT_FOUND: answer("Not Found: it is not.")},
    refusals([InvalidRequest, StoreUnavailable, InternalError]),
    parameters=[_DIGEST],
)
_NEW_BLOB = operation(
    "putBlob",
    "presets",
    "Store a blob for a while",
    ok("It was there already."),
    {HTTPStatus.CREATED: answer("It is there now.")},
    refusals([InvalidRequest, BodyTooLarge, DeadlineExceeded, StoreUnavailable, InternalError]),
    parameters=[_DIGEST],
    body={
        "description": "Its bytes, whatever the Content-Type says.",
        "content": {"application/octet-stream": {"schema": {}}},
    },
)

PATHS: dict[str, Schema] = {
    "/api/create": {
        "post": _managing(
            "createModel",
            "Make a preset",
            _in_steps(),
            "CreateRequest",
            NotTransferable,
            InvalidOption,
            NoWorkerReady,
            StoreUnavailable,
        )
    },
    "/api/copy": {
        "post": _managing("copyModel", "Give a model another name", ok("Done."), "CopyRequest", *FINDING)
    },
    "/api/delete": {
        "delete": _managing(
            "deleteModel", "Delete a preset", ok("Done."), "DeleteRequest", ModelNotFound, StoreUnavailable
        )
    },
    "/api/pull": {
        "post": _managing(
            "pullModel",
            "Succeeds for models that are here",
            _in_steps(),
            "PullRequest",
            NotTransferable,
            NoWorkerReady,
            StoreUnavailable,
        )
    },
    "/api/push": {
        "post": _managing(
            "pushModel",
            "Says that nothing is pushed anywhere",
            _in_steps(can_succeed=False),
            "PushRequest",
            NotTransferable,
        )
    },
    "/api/blobs/{digest}": {"head": _BLOB, "post": _NEW_BLOB},
}
