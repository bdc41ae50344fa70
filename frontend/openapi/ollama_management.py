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
    SourceFailed,
    StoreFull,
    StoreUnavailable,
)
from frontend.api.core.request import MAX_MESSAGES
from frontend.openapi.fields import MODEL, OLD_NAME, STREAM
from frontend.openapi.operations import (
    BODY_ERRORS,
    JSON,
    MODEL_ERRORS,
    NDJSON,
    ErrorType,
    Responses,
    error_responses,
    json_body,
    ok,
    operation,
    response,
)
from frontend.openapi.schema import (
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

_FILES = mapping(or_null(text("A blob's digest.")), "Weights. Refused with the reason.")
_TRANSFER: dict[str, Schema] = {
    "model": MODEL,
    "name": OLD_NAME,
    "stream": STREAM,
    "insecure": boolean("Ignored.", default=False),
}
_CREATE: dict[str, Schema] = {
    "model": {**MODEL, "description": "The name of the preset to create."},
    "name": OLD_NAME,
    "from": text("The base model: a served one, or another preset.", default=""),
    "stream": STREAM,
    "template": text("A Go template, or the model's own as `show` returns it.", default=""),
    "system": text(default=""),
    "license": any_of(text(), array(or_null(text())), about="Added to the licenses of `from`."),
    "parameters": mapping(
        {}, "Options that override those of `from`. They are validated when the preset is used."
    ),
    "messages": array(
        or_null(ref("Message")), "Messages that every chat begins with.", maxItems=MAX_MESSAGES, default=[]
    ),
    "files": _FILES,
    "adapters": mapping(
        or_null(text("A blob's digest.")),
        "A LoRA for the model of `from`: one GGUF file, or PEFT's `adapter_config.json` and "
        "`adapter_model.safetensors`, uploaded as blobs.",
    ),
    "quantize": text("Refused with status 500.", default=""),
    "quantization": text("What old clients send instead of `quantize`.", default=""),
    "draft_files": {**_FILES, "description": "Kept by name for the Modelfile; the blobs must be there."},
    "draft_quantize": text("Of a draft; without effect.", default=""),
    "renderer": text("Kept for the Modelfile; the model's chat template renders the prompts.", default=""),
    "parser": text("Kept for the Modelfile; workers detect the parsers that a template needs.", default=""),
    "capabilities": array(
        or_null(text()), "Kept for the Modelfile; what a model can do is what its workers report.", default=[]
    ),
    "requires": text("A version of Ollama; refused if newer than this server's.", default=""),
    "remote_host": text("Refused: the operator configures other hosts.", default=""),
    "info": mapping(
        {}, "Validated; keys that Ollama would set are refused: workers report a model's properties."
    ),
}
_PROGRESS: dict[str, Schema] = {
    "status": text(examples=["success"]),
    "digest": text("The digest of what is present.", pattern="^sha256:"),
    "total": integer("Size in bytes.", minimum=0),
    "completed": integer("Bytes that are present.", minimum=1),
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


def _progress() -> Responses:
    lines = any_of(
        ref("Progress"),
        ref("Error"),
        about="One line. The last one has the status `success`, or is an error.",
    )
    content = {NDJSON: lines, JSON: ref("Progress")}
    return ok("Lines, or only the last one if `stream` is false.", content)


def _operation(operation_id: str, summary: str, success: Responses, name: str, *errors: ErrorType) -> Schema:
    return operation(
        operation_id,
        "presets",
        summary,
        success,
        error_responses([*BODY_ERRORS, *errors]),
        body=json_body(ref(name)),
    )


_BLOB = operation(
    "hasBlob",
    "presets",
    "Check whether a blob exists",
    ok("It exists."),
    {HTTPStatus.NOT_FOUND: response("Not Found: it does not exist.")},
    error_responses([InvalidRequest, StoreUnavailable, InternalError]),
    parameters=[_DIGEST],
)
_NEW_BLOB = operation(
    "putBlob",
    "presets",
    "Store a blob temporarily",
    ok("It existed already."),
    {HTTPStatus.CREATED: response("It was stored.")},
    error_responses(
        [InvalidRequest, BodyTooLarge, DeadlineExceeded, StoreFull, StoreUnavailable, InternalError]
    ),
    parameters=[_DIGEST],
    body={
        "description": "The blob's bytes, whatever the Content-Type says.",
        "content": {"application/octet-stream": {"schema": {}}},
    },
)

PATHS: dict[str, Schema] = {
    "/api/create": {
        "post": _operation(
            "createModel",
            "Create a preset",
            _progress(),
            "CreateRequest",
            NotTransferable,
            InvalidOption,
            NoWorkerReady,
            StoreFull,
            StoreUnavailable,
        )
    },
    "/api/copy": {
        "post": _operation(
            "copyModel", "Copy a model to another name", ok("Done."), "CopyRequest", *MODEL_ERRORS
        )
    },
    "/api/delete": {
        "delete": _operation(
            "deleteModel",
            "Delete a preset, or a model of worker hosts",
            ok("Done."),
            "DeleteRequest",
            ModelNotFound,
            StoreUnavailable,
        )
    },
    "/api/pull": {
        "post": _operation(
            "pullModel",
            "Download a model; without worker hosts it must be there",
            _progress(),
            "PullRequest",
            NotTransferable,
            NoWorkerReady,
            SourceFailed,
            StoreFull,
            StoreUnavailable,
        )
    },
    "/api/push": {
        "post": _operation(
            "pushModel",
            "Upload a model of a worker host's store to a registry",
            _progress(),
            "PushRequest",
            NotTransferable,
            NoWorkerReady,
            SourceFailed,
        )
    },
    "/api/blobs/{digest}": {"head": _BLOB, "post": _NEW_BLOB},
}
