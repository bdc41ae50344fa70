"""Presets for tests. As a program: a frontend that makes five, in the database of that URL."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from drover.names import ModelName
from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.models.preset import Example, Preset
from frontend.models.preset_rows import PresetRows
from frontend.models.presets import Presets

DIGEST = "ab" * 32


def name(text: str) -> ModelName:
    parsed = ModelName.parse(text)
    assert parsed is not None
    return parsed


def preset(text: str = "pirate", system: str = "Be a pirate.", base: str = "smol") -> Preset:
    return Preset(
        name=name(text),
        base=name(base),
        base_digest=DIGEST,
        base_size_bytes=1000,
        modified_unix_ns=7,
        system=system,
    )


def full_preset() -> Preset:
    return replace(
        preset("ns/Pirate:v1"),
        parent="smol:latest",
        template="{{ .Prompt }}",
        template_uses=frozenset({"prompt"}),
        parameters={"temperature": 0.3, "stop": ["A", "B"], "num_predict": 7},
        examples=(Example("user", "q"), Example("assistant", "a")),
        licenses=("L1", "L2"),
    )


async def _make_five(url: str, number: str) -> None:
    presets = Presets(PresetRows(Database(parse_url(url), 20), 100, 1_000_000), poll_seconds=3600)
    await presets.start()
    try:
        for each in range(5):
            await presets.put(preset(f"p{number}-{each}"))
    finally:
        await presets.stop()


if __name__ == "__main__":
    asyncio.run(_make_five(*sys.argv[1:]))
