"""What `create` refuses before it makes anything: values of a wrong kind, in upstream's words, and what this
server cannot use. Raises InvalidRequest, and InvalidOption where upstream answers 500.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from drover.errors import InvalidOption, InvalidRequest
from drover.json_value import Json
from frontend.dialects.ollama.decode import kind
from frontend.dialects.ollama.manage_wire import CreateRequest
from frontend.dialects.ollama.wire import Message

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_VERSION = re.compile(
    r"v?(0|[1-9]\d*)(?:\.(0|[1-9]\d*))?(?:\.(0|[1-9]\d*))?(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
)
_INFO_TEXTS = ("model_family", "base_name", "quantization_level", "parameter_size")
_INFO_NUMBERS = ("context_length", "embedding_length")
_SERVE_WEIGHTS = (
    "this server does not take weights: engine workers serve them. Put the file where a worker can read it, "
    "start one (python -m engine_worker --engine llamacpp --model FILE.gguf --name NAME, or --engine sglang "
    "--model FOLDER), add its address to the frontend's --workers, and create from NAME"
)


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def check_source(request: CreateRequest) -> None:
    """Unless the request names a model to make another one from, and no weights."""
    files = {**(request.files or {}), **request.adapters, **(request.draft_files or {})}
    for path, digest in files.items():
        if path.startswith("/") or ".." in path.split("/"):
            raise InvalidRequest("file path must be relative")
        if not is_digest(digest):
            raise InvalidRequest("invalid digest format")
    if request.adapters:
        raise InvalidRequest(f"adapters cannot be added to a model here: {_SERVE_WEIGHTS}")
    if request.origin:
        return
    if request.files is None:
        raise InvalidRequest("neither 'from' or 'files' was specified")
    raise InvalidRequest(_SERVE_WEIGHTS if request.files else "no files provided to convert")


def check_unusable(request: CreateRequest, version: str) -> None:
    """Fields that are checked as upstream checks them, then refused. `version`: of the API spoken here."""
    _check_draft(request)
    _check_remote(request.remote_host)
    _check_requires(request.requires, version)
    _check_info(request.info)
    for field, value in (("renderer", request.renderer), ("parser", request.parser)):
        if value:
            raise InvalidRequest(
                f"{field}: {value!r} cannot be used: prompts are made by the model's chat template here, and "
                f"workers find the parsers that belong to it. Leave out {field.upper()}"
            )


def _check_draft(request: CreateRequest) -> None:
    if request.draft_quantize and not request.draft_files:
        raise InvalidRequest("--draft-quantize requires a DRAFT model")
    if request.draft_files is None:
        return
    if not request.draft_files:
        raise InvalidRequest("unknown type")
    raise InvalidRequest(
        "draft_files: a model gets no draft here: speculative decoding is set where a worker starts, for "
        "SGLang with --sglang-args '--speculative-algorithm …'. Leave out DRAFT"
    )


def _check_remote(host: str) -> None:
    if not host:
        return
    try:
        urlsplit(host if "://" in host else f"http://{host}").port  # noqa: B018 - raises for what is none
    except ValueError:
        raise InvalidRequest("bad remote") from None
    raise InvalidRequest(
        f"remote_host: {host!r} cannot be used: models on other hosts are the operator's to name, as "
        "ollama:http://HOST:11434/MODEL#NAME among the frontend's --workers"
    )


def _check_requires(requires: str, version: str) -> None:
    if not requires:
        return
    wanted, spoken = _VERSION.fullmatch(requires), _VERSION.fullmatch(version)
    if wanted is None:
        raise InvalidRequest("requires must be a valid semver (e.g. 0.14.0)")
    if spoken is not None and _numbers(wanted) > _numbers(spoken):
        raise InvalidRequest(f"requires: {requires} is newer than {version}, whose API this server speaks")


def _numbers(version: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(part or 0) for part in version.groups())


def _check_info(info: Mapping[str, Json]) -> None:
    if "capabilities" in info:
        _check_capabilities(info["capabilities"])
    for field in _INFO_TEXTS:
        if field in info and not isinstance(info[field], str):
            raise InvalidRequest(f'info field "{field}" must be a string')
    for field in _INFO_NUMBERS:
        if field in info:
            _check_count(field, info[field])
    known = [field for field in ("capabilities", *_INFO_TEXTS, *_INFO_NUMBERS) if field in info]
    if known:
        raise InvalidRequest(
            f"info: {', '.join(known)} cannot be set: what a model is comes from the workers that serve it"
        )


def _check_capabilities(value: Json) -> None:
    if not isinstance(value, list):
        raise InvalidRequest('info field "capabilities" must be an array of strings')
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise InvalidRequest(f'info field "capabilities" element {index} must be a string')


def _check_count(field: str, value: Json) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f'info field "{field}" must be a number')
    if value < 0 or value != int(value):
        raise InvalidRequest(f'info field "{field}" must be a non-negative integer')


def check_messages(messages: Sequence[Message]) -> None:
    """For what would be lost."""
    for number, message in enumerate(messages, 1):
        if message.images or message.tool_calls:
            what = "images" if message.images else "tool_calls"
            raise InvalidRequest(
                f"message {number} has {what}: the messages of a model have a role and a content here; "
                f"send {what} with each request"
            )


def check_quantize(request: CreateRequest) -> None:
    if request.quantize or request.quantization:
        raise InvalidOption("quantization is only supported for F16, BF16 and F32 models")


def licenses_of(value: Json) -> list[str]:
    """One text, or a list of them. An empty one counts only in a list, as upstream has it (`LICENSE ""`)."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise _no_license(value, "[]string")
    texts = []
    for item in value:
        if item is not None and not isinstance(item, str):
            raise _no_license(item, "string")
        texts.append(item or "")
    return texts


def _no_license(value: Json, go_type: str) -> InvalidOption:
    return InvalidOption(f"json: cannot unmarshal {kind(value)} into Go value of type {go_type}")
