"""Models made of files that are none, of names that lead out, and of thousands of files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.attack.asking import Refusal, asking, refused
from tests.attack.figures import Figures
from tests.attack.host_leftovers import ESCAPED
from tests.attack.host_scene import hosted

_CONFIG = b'{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2}'
_MISSING = f"sha256:{'0' * 64}"
_MANY_FILES = 5000
_AT_ONCE = 100


def _gguf(tensors: int, keys: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


def _key(kind: int, value: bytes, name: bytes = b"general.x") -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


def _tensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(16)


def _tensor(**fields: object) -> bytes:
    whole = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **fields}
    return _tensors(json.dumps({"w": whole}).encode())


_GGUFS = {
    "nothing-more": b"GGUF",
    "version": _gguf(0, 0, version=2**32 - 1),
    "tensors": _gguf(2**63, 0),
    "keys": _gguf(0, 2**63),
    "keys-not-there": _gguf(0, 4000),
    "name": _gguf(0, 1, struct.pack("<Q", 2**63)),
    "text": _gguf(0, 1, _key(8, struct.pack("<Q", 2**40))),
    "array": _gguf(0, 1, _key(9, struct.pack("<IQ", 4, 2**61))),
    "texts": _gguf(0, 1, _key(9, struct.pack("<IQ", 8, 2**62))),
    "arrays": _gguf(0, 1, _key(9, struct.pack("<IQ", 9, 2))),
    "kind": _gguf(0, 1, _key(99, b"")),
    "alignment": _gguf(1, 1, _key(4, struct.pack("<I", 0), b"general.alignment") + bytes(64)),
    "dimensions": _gguf(1, 0, struct.pack("<QI", 0, 2**31)),
    "shape": _gguf(1, 0, struct.pack("<QI4QIQ", 0, 4, *[2**63] * 4, 0, 0)),
    "offset": _gguf(1, 0, struct.pack("<QI1QIQ", 0, 1, 4, 0, 2**63)),
}
_SAFETENSORS = {
    "empty": b"",
    "length": _tensors(b"{}", 2**63),
    "length-beyond": _tensors(b"{}", 2**20),
    "no-length": _tensors(b"{}", 0),
    "nested": _tensors(b'{"a":' * 100_000),
    "a-list": _tensors(b"[]"),
    "shape": _tensor(shape=[2**62, 2**62]),
    "negative": _tensor(shape=[-1]),
    "dimensions": _tensor(shape=[1] * 100_000),
    "offsets": _tensor(data_offsets=[0, 2**62]),
    "backwards": _tensor(data_offsets=[16, 0]),
    "no-offsets": _tensor(data_offsets="x"),
    "kind": _tensor(dtype="F" * 100_000),
}
_CONFIGS = {
    "nested": b'{"a":' * 100_000,
    "deep-list": b'{"a":' + b"[" * 1_000_000,
    "a-list": b"[]",
    "long": b'{"a": "' + b"x" * 2_000_000 + b'"}',
    "no-json": bytes(range(256)),
}
_NAMES = (
    f"../../{ESCAPED}.safetensors", f"/tmp/{ESCAPED}.safetensors", f"a/../../{ESCAPED}.safetensors",
    f".{ESCAPED}.safetensors", f"{ESCAPED}\0.safetensors", f"{ESCAPED}\n.safetensors",
    f"..\\{ESCAPED}.safetensors",
    f"{ESCAPED * 100}.safetensors", f"\u202e{ESCAPED}.safetensors", "..", "",
)  # fmt: skip


class _Creator:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def put(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        answer = await self._http.post(f"/api/blobs/{digest}", content=data)
        assert answer.status_code in (200, 201), answer.text
        return digest

    async def refused(self, files: Mapping[str, str], **more: object) -> Refusal:
        return await refused(
            self._http, "/api/create", {"model": ESCAPED, "files": files, "stream": False, **more}
        )


async def test_files_that_make_no_model(tmp_path: Path, figures: Figures) -> None:
    async def attack(port: int) -> None:
        async with asking(f"http://127.0.0.1:{port}") as http:
            creator = _Creator(http)
            config, weights = await creator.put(_CONFIG), await creator.put(_tensor())
            for data in _GGUFS.values():
                assert (await creator.refused({"x.gguf": await creator.put(data)})).status == 400
            for data in _SAFETENSORS.values():
                files = {"model.safetensors": await creator.put(data), "config.json": config}
                assert (await creator.refused(files)).status == 400
            for data in _CONFIGS.values():
                files = {"model.safetensors": weights, "config.json": await creator.put(data)}
                assert (await creator.refused(files)).status == 400

    async with hosted(tmp_path, figures, rehearsed=attack) as scene:
        await attack(scene.port)


async def test_names_and_digests_of_files(tmp_path: Path, figures: Figures) -> None:
    async def attack(port: int) -> None:
        async with asking(f"http://127.0.0.1:{port}") as http:
            creator = _Creator(http)
            config, weights = await creator.put(_CONFIG), await creator.put(_tensor())
            for name in _NAMES:
                refusal = await creator.refused({name: weights, "config.json": config})
                assert refusal.status == 400, name
            for digest in (_MISSING, "", "sha256:", f"sha256:../../{ESCAPED}", "0" * 64):
                refusal = await creator.refused({"model.safetensors": digest})
                assert refusal.status == 400, digest

    async with hosted(tmp_path, figures, rehearsed=attack) as scene:
        await attack(scene.port)


async def test_thousands_of_files_and_deep_parameters(tmp_path: Path, figures: Figures) -> None:
    """One file under many names, and what cannot be kept; many at once."""
    nested: object = 1
    for _ in range(100):
        nested = [nested]

    async def attack(port: int) -> None:
        async with asking(f"http://127.0.0.1:{port}") as http:
            creator = _Creator(http)
            config, weights = await creator.put(_CONFIG), await creator.put(_tensor())
            many = {f"w{number}.safetensors": weights for number in range(_MANY_FILES)}
            few = {"model.safetensors": weights, "config.json": config}
            assert (await creator.refused({**many, "config.json": config})).status == 400
            deep = b'{"model":"%b","files":{},"parameters":%b}' % (ESCAPED.encode(), b'{"a":' * 100_000)
            assert (await refused(http, "/api/create", deep)).status == 400
            assert (await creator.refused(few, parameters={"stop": nested})).status == 400
            assert (
                await creator.refused(few, license=["x"] * 10_000 + [str(n) for n in range(100)])
            ).status == 400
            await asyncio.gather(
                *(
                    creator.refused({f"w{number}.safetensors": weights}, system=f"{number}")
                    for number in range(_AT_ONCE)
                )
            )

    async with hosted(tmp_path, figures, rehearsed=attack) as scene:
        await attack(scene.port)
