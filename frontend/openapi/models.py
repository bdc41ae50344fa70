"""/api/tags, /api/ps and /api/show."""

from __future__ import annotations

from drover.errors import InternalError, NotOffered
from frontend.openapi.answers import JSON, json_body, ok, operation, with_head
from frontend.openapi.fields import MODEL, OLD_NAME, TIME
from frontend.openapi.refusals import FINDING, READING, refusals
from frontend.openapi.schemas import (
    Schema,
    array,
    boolean,
    integer,
    mapping,
    named_by_either,
    ref,
    struct,
    text,
)

_DETAILS: dict[str, Schema] = {
    "parent_model": text("What a preset was made from; empty for a served model."),
    "format": text(examples=["safetensors", "gguf"]),
    "family": text(),
    "families": array(text()),
    "parameter_size": text(examples=["135M"]),
    "quantization_level": text(examples=["Q4_0"]),
}
_LENGTHS: dict[str, Schema] = {
    "context_length": integer("Tokens that the model was trained for.", minimum=1),
    "embedding_length": integer(minimum=1),
}
_CAPABILITIES = array(
    text(enum=["completion", "tools", "insert", "vision", "embedding", "thinking", "audio"])
)
_NAMES: dict[str, Schema] = {"name": text("With its tag."), "model": text("The same.")}
_DIGEST = text("64 hexadecimal digits.")
_BYTES = integer(minimum=0)

_TAG: dict[str, Schema] = {
    **_NAMES,
    "modified_at": TIME,
    "size": _BYTES,
    "digest": _DIGEST,
    "details": struct({**_DETAILS, **_LENGTHS}, [*_DETAILS]),
    "capabilities": _CAPABILITIES,
}
_PROCESS: dict[str, Schema] = {
    **_NAMES,
    "size": _BYTES,
    "digest": _DIGEST,
    "details": struct(_DETAILS, [*_DETAILS]),
    "expires_at": TIME,
    "size_vram": _BYTES,
    "context_length": integer("Tokens that a request may have.", minimum=0),
}
_SHOWN_IF_ANY: dict[str, Schema] = {
    "license": text(),
    "parameters": text("One line for each value."),
    "template": text(),
    "system": text(),
    "messages": array(struct({"role": text(), "content": text()}, ["role", "content"])),
    "requires": text("The version of Ollama that the model asks for."),
    "tensors": array(
        struct(
            {"name": text(), "type": text(), "shape": array(integer(minimum=0))}, ["name", "type", "shape"]
        ),
        "Of a GGUF always, of others where `verbose` is true.",
    ),
}
_SHOWN: dict[str, Schema] = {
    "modelfile": text("What makes the same model elsewhere, with the request's system and options."),
    "details": struct(_DETAILS, [*_DETAILS]),
    "model_info": mapping({}, "What the model's files say of it."),
    "capabilities": _CAPABILITIES,
    "modified_at": TIME,
}

SCHEMAS: dict[str, Schema] = {
    "ShowRequest": named_by_either(
        {
            "model": MODEL,
            "name": OLD_NAME,
            "verbose": boolean("Whether all tensors are listed.", default=False),
            "system": text("Shown in the Modelfile.", default=""),
            "template": text("Read, and not used.", default=""),
            "options": mapping({}, "Shown in the Modelfile, over the model's own."),
        }
    ),
    "ShowAnswer": struct({**_SHOWN_IF_ANY, **_SHOWN}, [*_SHOWN]),
    "Model": struct(_TAG, [*_TAG]),
    "LoadedModel": struct(_PROCESS, [*_PROCESS]),
}


def _list_of(name: str) -> Schema:
    return struct({"models": array(ref(name))}, ["models"])


PATHS: dict[str, Schema] = {
    "/api/tags": with_head(
        operation(
            "listModels",
            "models",
            "All models: what workers serve, and presets",
            ok("The newest first.", {JSON: _list_of("Model")}),
            refusals([InternalError]),
        )
    ),
    "/api/ps": {
        "get": operation(
            "listLoadedModels",
            "models",
            "The models that are in memory",
            ok("The one that stays longest first.", {JSON: _list_of("LoadedModel")}),
            refusals([InternalError]),
        )
    },
    "/api/show": {
        "post": operation(
            "showModel",
            "models",
            "What is known of a model",
            ok("The model.", {JSON: ref("ShowAnswer")}),
            refusals([*READING, *FINDING, NotOffered]),
            body=json_body(ref("ShowRequest")),
        )
    },
}
