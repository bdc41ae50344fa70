"""The order of rows that adapters get for llama.cpp, by SmolLM2's weights in both forms."""

from __future__ import annotations

import numpy
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

from engine_worker import default_model
from engine_worker.adapters.gguf_conversion import SafetensorsMatrices, interleaved


@pytest.mark.parametrize(("module", "heads"), [("q", 9), ("k", 3)])
def test_the_rows_of_a_converted_matrix_have_the_order_of_the_model(module: str, heads: int) -> None:
    weights = SafetensorsMatrices(default_model.safetensors_path() / default_model.WEIGHTS)
    tensors = GGUFReader(default_model.gguf_path()).tensors
    (in_gguf,) = [tensor for tensor in tensors if tensor.name == f"blk.3.attn_{module}.weight"]
    one = weights.matrix(f"model.layers.3.self_attn.{module}_proj")
    other = dequantize(in_gguf.data, in_gguf.tensor_type)

    assert not numpy.array_equal(one, other)
    assert numpy.array_equal(interleaved(one, heads), other)
