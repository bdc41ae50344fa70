"""The events of a background response, which any number of clients may read while it runs."""

from __future__ import annotations

from drover.concurrency import ChangeSignal

_END = b"\n\n"


class EventLog:
    """All events so far. The number of an event in the log is its sequence number."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._changes = ChangeSignal()
        self.is_ended = False

    def __len__(self) -> int:
        return len(self._frames)

    def append(self, frames: bytes) -> None:
        self._frames += split_frames(frames)
        self._changes.notify()

    def end(self) -> None:
        self.is_ended = True
        self._changes.notify()

    def since(self, number: int) -> bytes:
        """The events from this number on."""
        return b"".join(self._frames[number:])

    async def wait(self, number: int) -> None:
        """Until there is an event of this number, or the log has ended."""
        while not (self.is_ended or len(self._frames) > number):
            change = self._changes.next_change
            if self.is_ended or len(self._frames) > number:
                return
            await change.wait()


def split_frames(data: bytes) -> list[bytes]:
    """Server-sent events one by one. JSON has no line feeds of its own."""
    return [frame + _END for frame in data.split(_END) if frame]
