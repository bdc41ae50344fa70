"""Hubs that list files with names and sizes as no repository has."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.attack.asking import Refusal, asking, refused
from tests.attack.figures import Figures
from tests.attack.host_leftovers import ESCAPED
from tests.attack.host_scene import hosted
from tests.fakes.hostile_source import Answer, Exchange, HostileSource, serving

_SHA = "0" * 64
_COMMIT = "c" * 40
_OUT = f"../../../{ESCAPED}"
_WEIGHTS = "model.safetensors"
_QUANTISED = "x-Q4_K_M.gguf"


def _file(name: object, size: object = 10, sha256: object = _SHA) -> dict[str, object]:
    return {"rfilename": name, "size": size, "lfs": {"sha256": sha256, "size": size, "pointerSize": 1}}


def _small(name: str, size: object = 10) -> dict[str, object]:
    return {"rfilename": name, "size": size, "blobId": _COMMIT}


def _listed(*files: object, **fields: object) -> bytes:
    return json.dumps({"id": "team/x", "sha": _COMMIT, "siblings": files, **fields}).encode()


_LISTS: dict[str, bytes] = {
    "nothing": b"",
    "no-object": b"[]",
    "nested": b'{"siblings":' + b"[" * 200_000,
    "no-files": _listed(),
    "files-are-text": json.dumps({"siblings": "x"}).encode(),
    "name-is-no-text": _listed(_file(["x"]), _file(_QUANTISED)),
    "revision-is-no-text": _listed(_file(_QUANTISED), sha={"x": 1}),
    "revision-leads-out": _listed(_file(_QUANTISED), sha=_OUT),
    "time-is-no-time": _listed(_file(_QUANTISED), lastModified="x", createdAt=5),
    "weights-lead-out": _listed(_file(f"{_OUT}.safetensors"), _small("config.json")),
    "weights-are-absolute": _listed(_file(f"/tmp/{ESCAPED}.safetensors"), _small("config.json")),
    "config-leads-out": _listed(_file(_WEIGHTS), _small(f"{_OUT}/config.json")),
    "gguf-leads-out": _listed(_file(f"{_OUT}-Q4_K_M.gguf")),
    "gguf-is-absolute": _listed(_file(f"http://127.0.0.1:1/{ESCAPED}-Q4_K_M.gguf")),
    "hidden": _listed(_file(_WEIGHTS), _small("config.json"), _small(f".{ESCAPED}.json")),
    "negative": _listed(_file(_QUANTISED, -1)),
    "absurd": _listed(_file(_QUANTISED, 2**62)),
    "beyond-numbers": _listed(_file(_QUANTISED, 2**80)),
    "fraction": _listed(_file(_QUANTISED, 1e300)),
    "size-is-text": _listed(_file(_QUANTISED, "many")),
    "no-size": _listed(_file(_QUANTISED, None)),
    "small-is-large": _listed(_file(_WEIGHTS), _small("config.json", 2**40)),
    "digest-leads-out": _listed(_file(_QUANTISED, 10, f"../../{ESCAPED}")),
    "digest-is-no-text": _listed(_file(_QUANTISED, 10, 5)),
    "pickled": _listed(_file("pytorch_model.bin"), _small("config.json")),
    "many-weights": _listed(*(_file(f"part{n}.safetensors") for n in range(3000)), _small("config.json")),
    "many-files": _listed(*({"rfilename": f"{n}"} for n in range(120_000))),
    "more-files": _listed(*({"rfilename": f"{n}"} for n in range(600_000))),
    # Both would be searched for the name of a quantisation.
    "long-name": _listed(_file(f"{'_Q1' * 1_000_000}!.gguf")),
    "long-names": _listed(*({"rfilename": f"{n}{'_Q1' * 80}!.gguf"} for n in range(14_000))),
}


def _list(text: bytes) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(text)

    return answer


async def _endless(exchange: Exchange) -> None:
    await exchange.endless()


async def test_lists_of_a_hostile_hub(tmp_path: Path, figures: Figures) -> None:
    lists: dict[str, Answer] = {"endless": _endless, **{kind: _list(text) for kind, text in _LISTS.items()}}
    # Whatever file is asked for.
    files = dict.fromkeys(lists, _endless)
    async with serving(HostileSource(lists, files)) as source:

        async def attack(port: int) -> dict[str, Refusal]:
            async with asking(f"http://127.0.0.1:{port}") as http:
                found = await asyncio.gather(
                    *(
                        refused(http, "/api/pull", {"model": f"hf.co/team/{kind}", "stream": False})
                        for kind in lists
                    )
                )
            return dict(zip(lists, found, strict=True))

        async def twice(port: int) -> None:
            """The parsed lists of several threads are what the allocator keeps."""
            await attack(port)
            await attack(port)

        async with hosted(tmp_path, figures, (f"hf.co={source.url}",), rehearsed=twice) as scene:
            refusals = await attack(scene.port)
    figures.notes.append(f"{len(refusals)} kinds of lists were refused")
    assert refusals["absurd"].status == 507
    assert "cannot be read" in refusals["revision-is-no-text"].error
    assert "pickled" in refusals["weights-lead-out"].error
