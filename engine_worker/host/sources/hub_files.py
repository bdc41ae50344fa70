"""Which files of a hub's repository make the model that a name asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from drover.errors import NotTransferable
from drover.names import DEFAULT_TAG, ModelName
from engine_worker.host.store.manifest import (
    FILE,
    LICENSE,
    MODEL,
    PARAMETERS,
    SYSTEM,
    TEMPLATE,
    is_file_name,
)

Chosen = tuple[str, str, str]
"""The kind of layer, the path in the repository, and the file's name in a folder of safetensors."""

_USUAL = "Q4_K_M"
_LABEL = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|BF16|F16|FP16|F32|MXFP4(?:_MOE)?))$", re.IGNORECASE
)
# Longer than any label: names come from outside, and are not searched whole.
_LABEL_CHARACTERS = 64
_PART = re.compile(r"-\d{5}-of-\d{5}$")
# Not the weights of a language model.
_OTHER_GGUF = re.compile(r"mmproj|imatrix", re.IGNORECASE)
# What Ollama reads from repositories with GGUF files.
_TEXTS = {"template": TEMPLATE, "system": SYSTEM, "params": PARAMETERS, "LICENSE": LICENSE}
_WEIGHTS = ".safetensors"
# Of a folder in the layout of transformers: no pickled weights, and no Python.
_TAKEN = (_WEIGHTS, ".json", ".jinja", ".model", ".txt")
_MARKDOWN = ".md"
_LICENSE_FILES = ("LICENSE", f"LICENSE{_MARKDOWN}", "LICENCE")
_STANDARD_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_MAX_FILES = 1024


def chosen_files(name: ModelName, paths: Sequence[str]) -> Sequence[Chosen]:
    """Raises NotTransferable, in words, if none of the files can be used."""
    gguf = [path for path in sorted(paths) if path.endswith(".gguf") and not _OTHER_GGUF.search(path)]
    if gguf:
        return [(MODEL, _chosen_gguf(name, gguf), ""), *_texts(paths)]
    return list(_folder(name, sorted(path for path in paths if is_file_name(path))))


def _chosen_gguf(name: ModelName, paths: Sequence[str]) -> str:
    found = _matching(name.tag, paths)
    if not found and name.tag.casefold() == DEFAULT_TAG:
        found = _matching(_USUAL, paths) or [path for path in paths if not _is_part(path)][:1] or paths
    if not found:
        raise NotTransferable(f"pull model manifest: {name.short}: no such file; there are {_listed(paths)}")
    whole = [path for path in found if not _is_part(path)]
    if not whole:
        raise NotTransferable(
            f"pull model manifest: {name.short} is split into several GGUF files, which this server does not "
            f"join; there are {_listed(paths)}"
        )
    # `model-Q4_K_M` before `model-UD-Q4_K_M`.
    return min(whole, key=len)


def _matching(tag: str, paths: Sequence[str]) -> Sequence[str]:
    """Files of a quantisation, or with a name."""
    wanted = tag.upper()
    return [path for path in paths if wanted in {*_labels(path), *_names(path)}]


def _labels(path: str) -> set[str]:
    stem = _stem(path)
    found = _LABEL.search(stem, max(0, len(stem) - _LABEL_CHARACTERS))
    label = found[1].upper() if found else ""
    return {label, label.removeprefix("UD-")} - {""}


def _names(path: str) -> set[str]:
    return {PurePosixPath(path).name.upper(), PurePosixPath(path).stem.upper()}


def _stem(path: str) -> str:
    return _PART.sub("", PurePosixPath(path).stem)


def _is_part(path: str) -> bool:
    return _PART.search(PurePosixPath(path).stem) is not None


def _listed(paths: Sequence[str]) -> str:
    """Tags of files that are not split."""
    tags = {max(_labels(path) or {_stem(path)}, key=len) for path in paths if not _is_part(path)}
    return ", ".join(sorted(tags)[:30]) or "no files that are not split"


def _texts(paths: Sequence[str]) -> Iterator[Chosen]:
    for path, media_type in _TEXTS.items():
        if path in paths:
            yield media_type, path, ""


def _folder(name: ModelName, paths: Sequence[str]) -> Iterator[Chosen]:
    weights = [path for path in paths if path.endswith(_WEIGHTS)]
    if name.tag.casefold() != DEFAULT_TAG:
        raise NotTransferable(
            f"pull model manifest: {name.short}: tags name quantisations, and the repository has no "
            "GGUF files"
        )
    if not weights or "config.json" not in paths:
        raise NotTransferable(
            f"pull model manifest: {name.short}: the repository has no GGUF file, and not both config.json "
            "and safetensors; pickled weights are not taken, since reading them runs code"
        )
    # Some repositories have the weights in a second form too.
    standard = [path for path in weights if _STANDARD_WEIGHTS.fullmatch(path)]
    left_out = set(weights) - set(standard or weights)
    taken = [path for path in paths if path.endswith(_TAKEN) and path not in left_out]
    if len(taken) > _MAX_FILES:
        raise NotTransferable(f"pull model manifest: {name.short} has more than {_MAX_FILES} files")
    for path in taken:
        yield FILE, path, path
    for path in [each for each in _LICENSE_FILES if each in paths][:1]:
        yield LICENSE, path, ""
