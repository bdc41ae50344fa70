"""Adapters on real engines: each changes its own requests, and no others."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.adapter_upload import files_of, header_of, parts_of
from tests.support.adapters import matrices, padded, write_gguf_adapter, write_peft_adapter
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import SGLANG_PYTHON, SMALL_CACHE, worker

PIRATE, MOON = "Ġpirate", "Ġmoon"
_COMMON = ("--context-length", "512", "--slots", "4", "--max-adapter-rank", "8")
_FLAGS: dict[str, tuple[str, ...]] = {"llamacpp": ("--engine", "llamacpp", *_COMMON)}
if SGLANG_PYTHON in os.environ:
    _FLAGS["sglang"] = ("--engine", "sglang", *_COMMON, SMALL_CACHE)


@dataclass(frozen=True)
class Adapted:
    """A worker that takes adapters, and two of them in its format, by the token that each makes win."""

    client: EngineClient
    paths: dict[str, Path]
    kind: str

    async def put(self, path: Path) -> str:
        files = files_of(path)
        header = header_of(files)
        await self.client.stub.PutAdapter(parts_of(header, files))
        return header.digest

    async def text(self, adapter: str, prompt: str = "Once upon a time", tokens: int = 6) -> str:
        request = pb.GenerateRequest(
            raw=prompt, adapter=adapter, sampling=pb.Sampling(temperature=0, max_tokens=tokens)
        )
        return (await self.client.text(request))[0]


@pytest.fixture(scope="module", params=sorted(_FLAGS))
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Path]]:
    folder = tmp_path_factory.mktemp(request.param)
    flags = (*_FLAGS[request.param], "--adapters", str(folder / "adapters"))
    with worker(folder / "worker.log", *flags) as process:
        yield request.param, process.address, folder


@pytest.fixture
async def adapted(running: tuple[str, str, Path]) -> AsyncIterator[Adapted]:
    kind, address, folder = running
    paths = {}
    for token, rank in ((PIRATE, 1), (MOON, 3)):
        found = padded(matrices(token), rank)
        path = paths[token] = folder / f"{rank}{'.gguf' if kind == 'llamacpp' else ''}"
        if kind == "llamacpp":
            write_gguf_adapter(path, found)
        else:
            write_peft_adapter(path, found)
    async with engine_client(address) as client:
        yield Adapted(client, paths, kind)


async def test_two_adapters_and_the_base_answer_at_the_same_time(adapted: Adapted) -> None:
    base = await adapted.text("")
    pirate, moon = [await adapted.put(adapted.paths[token]) for token in (PIRATE, MOON)]
    assert set((await adapted.client.load()).adapters) == {pirate, moon}

    texts = await asyncio.gather(*(adapted.text(adapter) for adapter in ("", pirate, moon, "", moon, pirate)))

    assert texts == [base, " pirate" * 6, " moon" * 6, base, " moon" * 6, " pirate" * 6]
    assert "pirate" not in base


async def test_scores_are_the_adapters(adapted: Adapted) -> None:
    pirate = await adapted.put(adapted.paths[PIRATE])

    async def odds(adapter: str) -> float:
        item = pb.ScoreItem(raw="Once upon a", labels=[" time", " pirate"])
        request = pb.ScoreRequest(request_id=secrets.token_hex(16), adapter=adapter, items=[item])
        (result,) = (await adapted.client.stub.Score(request)).results
        return result.logprobs[1] - result.logprobs[0]

    assert await odds("") < -1
    assert await odds(pirate) > 1
    assert await odds("") < -1


async def test_an_adapter_shares_no_prefix_with_the_base(adapted: Adapted) -> None:
    """Its keys and values are others, though the prompt is the same."""
    pirate = await adapted.put(adapted.paths[PIRATE])
    prompt = "the quick brown fox jumps over the lazy dog and then " * 8

    async def cached(adapter: str) -> int:
        request = pb.GenerateRequest(
            raw=prompt, adapter=adapter, sampling=pb.Sampling(temperature=0, max_tokens=1)
        )
        return (await adapted.client.text(request))[1].cached_tokens

    assert await cached("") == 0
    assert await cached(pirate) == 0
    assert await cached("") > 50
    assert await cached(pirate) > 50


async def test_a_deleted_adapter_is_gone_and_can_come_back(adapted: Adapted) -> None:
    moon = await adapted.put(adapted.paths[MOON])
    assert await adapted.text(moon) == " moon" * 6
    assert (await adapted.client.stub.DeleteAdapter(pb.DeleteAdapterRequest(digest=moon))).found

    with pytest.raises(grpc.aio.AioRpcError, match="does not have the adapter"):
        await adapted.text(moon)
    assert moon not in (await adapted.client.load()).adapters

    assert await adapted.put(adapted.paths[MOON]) == moon
    assert await adapted.text(moon) == " moon" * 6


async def test_what_does_not_fit_is_refused_and_the_others_stay(adapted: Adapted, tmp_path: Path) -> None:
    pirate = await adapted.put(adapted.paths[PIRATE])
    narrow = {**matrices(PIRATE), "o_proj.A": matrices(PIRATE)["o_proj.A"][:, :-64]}
    refused = {"rank 9": padded(matrices(PIRATE), 9), "made for another model": narrow}
    for reason, found in refused.items():
        path = tmp_path / reason
        (write_gguf_adapter if adapted.kind == "llamacpp" else write_peft_adapter)(path, found)
        with pytest.raises(grpc.aio.AioRpcError, match=reason) as failure:
            await adapted.put(path)
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await adapted.text(pirate) == " pirate" * 6
    assert "pirate" not in await adapted.text("")


async def test_pefts_files_do_the_same_on_both(adapted: Adapted, tmp_path: Path) -> None:
    """The worker converts them; SGLang reads them as they are."""
    write_peft_adapter(tmp_path / "peft", matrices(MOON))

    assert await adapted.text(await adapted.put(tmp_path / "peft")) == " moon" * 6
