"""/api/tags, /api/ps and /api/show."""

from __future__ import annotations

from drover.errors import InternalError, NotOffered
from frontend.openapi.fields import MODEL, OLD_NAME, TIME
from frontend.openapi.operations import (
    BODY_ERRORS,
    JSON,
    MODEL_ERRORS,
    error_responses,
    json_body,
    ok,
    operation,
    with_head,
)
from frontend.openapi.schema import (
    Schema,
    any_of,
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
    "parent_model": text("A preset's base model; empty for a served model."),
    "format": text(examples=["safetensors", "gguf"]),
    "family": text(),
    "families": array(text()),
    "parameter_size": text(examples=["135M"]),
    "quantization_level": text(examples=["Q4_0"]),
}
_LENGTHS: dict[str, Schema] = {
    "context_length": integer("Context length in tokens that the model was trained for.", minimum=1),
    "embedding_length": integer(minimum=1),
}
_CAPABILITIES = array(
    text(
        enum=[
            *("completion", "tools", "insert", "vision", "embedding", "thinking", "audio"),
            *("decision", "rerank", "classify"),
        ]
    )
)
_NAMES: dict[str, Schema] = {"name": text("The name with its tag."), "model": text("The same.")}
_DIGEST = text("64 hexadecimal digits.")
_BYTES = integer(minimum=0)

_REMOTE: dict[str, Schema] = {
    "remote_model": text("Of a model on an Ollama server: its name there."),
    "remote_host": text("The server's URL."),
}
_THINK_VALUE = any_of({"type": "boolean"}, text(minLength=1))
_TEMPLATE_SOURCES = (
    "renderer_parser", "renderer", "parser", "harmony", "go_template", "gguf_chat_template", "none",
)  # fmt: skip

_TAG: dict[str, Schema] = {
    **_NAMES,
    **_REMOTE,
    "modified_at": TIME,
    "size": _BYTES,
    "digest": _DIGEST,
    "details": struct({**_DETAILS, **_LENGTHS}, [*_DETAILS]),
    "capabilities": _CAPABILITIES,
}
_PROCESS: dict[str, Schema] = {
    **_NAMES,
    **_REMOTE,
    "size": _BYTES,
    "digest": _DIGEST,
    "details": struct(_DETAILS, [*_DETAILS]),
    "expires_at": TIME,
    "size_vram": _BYTES,
    "context_length": integer("Context length in tokens of a request.", minimum=0),
}
_HOSTS = array(
    struct(
        {"address": text(), "size": _BYTES, "size_vram": _BYTES, "expires_at": TIME},
        ["address", "size", "size_vram", "expires_at"],
    ),
    "The worker hosts that have it in memory. Absent for other models, and for keys whose role is not admin.",
)
_SHOWN_IF_ANY: dict[str, Schema] = {
    "license": text(),
    "parameters": text("One line for each value."),
    "template": text(),
    "system": text(),
    "messages": array(struct({"role": text(), "content": text()}, ["role", "content"])),
    "requires": text("The version of Ollama that the model requires."),
    "renderer": text("The code that makes chat prompts, or the one that the Modelfile names."),
    "parser": text("What finds thinking and tool calls in answers, or the one that the Modelfile names."),
    **_REMOTE,
    "thinking": struct(
        {
            "values": array(_THINK_VALUE, "What `think` may be; another name means the default.", minItems=1),
            "default": _THINK_VALUE,
        },
        ["values", "default"],
        "Absent where it is not known.",
    ),
    "template_source": text(
        "What makes chat prompts. `gguf_chat_template` is the model's own Jinja template.",
        enum=[*_TEMPLATE_SOURCES],
    ),
    "tensors": array(
        struct(
            {"name": text(), "type": text(), "shape": array(integer(minimum=0))}, ["name", "type", "shape"]
        ),
        "Always present for GGUF models, for others if `verbose` is true.",
    ),
}
_SHOWN: dict[str, Schema] = {
    "modelfile": text("A Modelfile of the same model, with the request's system and options."),
    "details": struct(_DETAILS, [*_DETAILS]),
    "model_info": mapping({}, "Metadata from the model's files."),
    "capabilities": _CAPABILITIES,
    "modified_at": TIME,
}

SCHEMAS: dict[str, Schema] = {
    "ShowRequest": named_by_either(
        {
            "model": MODEL,
            "name": OLD_NAME,
            "verbose": boolean("List all tensors.", default=False),
            "system": text("Shown in the Modelfile.", default=""),
            "template": text("Ignored.", default=""),
            "options": mapping({}, "Shown in the Modelfile, overriding the model's own."),
        }
    ),
    "ShowAnswer": struct({**_SHOWN_IF_ANY, **_SHOWN}, [*_SHOWN]),
    "Model": struct(_TAG, [name for name in _TAG if name not in _REMOTE]),
    "LoadedModel": struct({**_PROCESS, "hosts": _HOSTS}, [name for name in _PROCESS if name not in _REMOTE]),
}


def _list_of(name: str) -> Schema:
    return struct({"models": array(ref(name))}, ["models"])


PATHS: dict[str, Schema] = {
    "/api/tags": with_head(
        operation(
            "listModels",
            "models",
            "List all models: those that workers serve, and presets",
            ok("Newest first.", {JSON: _list_of("Model")}),
            error_responses([InternalError]),
        )
    ),
    "/api/ps": {
        "get": operation(
            "listLoadedModels",
            "models",
            "List the models that are in memory",
            ok("Sorted by expiry, latest first.", {JSON: _list_of("LoadedModel")}),
            error_responses([InternalError]),
        )
    },
    "/api/show": {
        "post": operation(
            "showModel",
            "models",
            "Show a model's details",
            ok("The model.", {JSON: ref("ShowAnswer")}),
            error_responses([*BODY_ERRORS, *MODEL_ERRORS, NotOffered]),
            body=json_body(ref("ShowRequest")),
        )
    },
}
