"""Images for a model that sees: bytes, and never a path or an address. The weights are random; what they see
shows in the log probabilities.
"""

from __future__ import annotations

import struct
import zlib

import ollama
import pytest

from drover.errors import CapabilityMissing, ContextExceeded, InvalidRequest
from drover.v1 import engine_pb2 as pb
from tests.support.answers import answer_to, error_of
from tests.support.engine_client import engine_client
from tests.support.processes import Stack


def png(red: int, green: int, blue: int, size: int = 64) -> bytes:
    rows = b"".join(b"\0" + bytes((red, green, blue)) * size for _ in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


RED, BLUE = png(255, 0, 0), png(0, 0, 255)


def looking_at(*images: bytes) -> pb.GenerateRequest:
    request = pb.GenerateRequest(
        top_logprobs=0, sampling=pb.Sampling(temperature=0, max_tokens=3, ignore_eos=True)
    )
    media = [pb.Media(data=image) for image in images]
    request.chat.messages.add(role="user", content="What is it?", images=media)
    return request


async def test_the_response_depends_on_the_image(seer: Stack) -> None:
    async with engine_client(seer.worker.address) as engine:
        assert (await engine.stub.GetModel(pb.GetModelRequest())).capabilities.vision

        async def seen(*images: bytes) -> tuple[list[float], int]:
            answer = await answer_to(engine, looking_at(*images))
            return [round(each.logprob, 3) for each in answer.logprobs], answer.done.prompt_tokens

        red, tokens = await seen(RED)
        assert (await seen(RED))[0] == red != (await seen(BLUE))[0]
        both, more_tokens = await seen(RED, BLUE)
        assert both != (await seen(BLUE, RED))[0], "the order of images counts"
        assert more_tokens > tokens > len(["What", "is", "it?"]), "images are counted"


@pytest.mark.parametrize(
    "data", [b"/etc/hostname", b"http://127.0.0.1:1/x.png", b"file:///etc/hostname", b"\x89PNG"]
)
async def test_urls_and_other_data_are_refused_as_images(seer: Stack, data: bytes) -> None:
    async with engine_client(seer.worker.address) as engine:
        assert isinstance(await error_of(engine, looking_at(data)), InvalidRequest)


async def test_images_make_a_request_not_resumable(seer: Stack) -> None:
    request = looking_at(RED)
    request.continuation.prompt_ids.append(1)
    async with engine_client(seer.worker.address) as engine:
        assert isinstance(await error_of(engine, request), CapabilityMissing)


def test_an_answer_without_a_limit_continues_until_the_context_is_full(seer: Stack) -> None:
    """Images take more of the context than their places in the prompt show."""
    with ollama.Client(host=seer.url, timeout=120) as client:
        message = {"role": "user", "content": "What is it?", "images": [RED]}
        answer = client.chat("seer", [message], options={"temperature": 0, "seed": 1})
        assert answer.done_reason in ("stop", "length")
        assert (answer.prompt_eval_count or 0) + (answer.eval_count or 0) <= 4096


async def test_a_conversation_about_images_that_does_not_fit_is_refused(seer: Stack) -> None:
    request = looking_at(RED)
    request.chat.messages[0].content = "word " * 9000
    async with engine_client(seer.worker.address) as engine:
        assert isinstance(await error_of(engine, request), ContextExceeded)


def test_through_both_tiers(seer: Stack) -> None:
    with ollama.Client(host=seer.url, timeout=60) as client:
        assert "vision" in (client.show("seer").capabilities or [])
        message = {"role": "user", "content": "What is it?", "images": [RED]}
        answer = client.chat("seer", [message], options={"num_predict": 2})
        assert answer.eval_count == 2
        generated = client.generate("seer", "What is it?", images=[BLUE], options={"num_predict": 2})
        assert generated.eval_count == 2
