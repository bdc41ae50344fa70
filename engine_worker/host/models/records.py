"""What loads have taught: a model's memory, the duration of its load, and its description by the worker."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from google.protobuf.message import DecodeError

from drover.v1 import engine_pb2 as pb

_MAX_BYTES = 16 * 1024 * 1024
_SHORTAGE_SECONDS = 3600.0
_RECORD, _NEW = _SUFFIXES = (".json", ".new")


@dataclass(frozen=True, slots=True)
class Shortage:
    """A load that ran out of memory although it had `room_bytes` of the budget: the model needs more, or this
    much is not there. `unix`: when; it counts for an hour, since other programs may have taken the memory.
    `is_of_gpu`: of each of its GPUs, and not of the machine's memory.
    """

    room_bytes: int
    unix: float
    is_of_gpu: bool = False

    @property
    def counts(self) -> bool:
        return time.time() - self.unix < _SHORTAGE_SECONDS


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """`memory_bytes`, `gpu_bytes` (of each GPU): the most that was measured; 0 where it was not. `card`:
    without tensors; without names before a load has succeeded. `started_with`: of the model. `shortage`: of
    the last load that ran out of memory.
    """

    memory_bytes: int = 0
    load_ns: int = 0
    card: pb.Model = field(default_factory=pb.Model)
    started_with: str = ""
    shortage: Shortage | None = None
    gpu_bytes: int = 0


class LoadRecords:
    """One file for each model, by the digest of its manifest. A file that cannot be read counts as missing:
    the next load writes it anew. Blocks: use a thread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def find(self, key: str) -> LoadRecord | None:
        try:
            path = self._path(key)
            if path.stat().st_size > _MAX_BYTES:
                return None
            document = orjson.loads(path.read_bytes())
            card = pb.Model.FromString(base64.b64decode(document["card"]))
            shortage = document.get("shortage")
            return LoadRecord(
                int(document["memory_bytes"]),
                int(document["load_ns"]),
                card,
                str(document["started_with"]),
                Shortage(**shortage) if shortage else None,
                int(document.get("gpu_bytes", 0)),
            )
        except (OSError, ValueError, KeyError, TypeError, DecodeError, binascii.Error):
            return None

    def put(self, key: str, record: LoadRecord) -> None:
        """Raises OSError."""
        document = {
            "memory_bytes": record.memory_bytes,
            "gpu_bytes": record.gpu_bytes,
            "load_ns": record.load_ns,
            "started_with": record.started_with,
            "card": base64.b64encode(record.card.SerializeToString()).decode(),
            "shortage": record.shortage,
        }
        path = self._path(key)
        new = path.with_suffix(_NEW)
        new.write_bytes(orjson.dumps(document))
        new.replace(path)

    def keep_only(self, keys: Iterable[str]) -> None:
        """Remove those of other models, and what writes have left that were cut off."""
        kept = {self._path(key).stem for key in keys}
        for path in self._folder.iterdir():
            if path.suffix in _SUFFIXES and path.stem not in kept:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key.replace(':', '-')}{_RECORD}"
