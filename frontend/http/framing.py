"""How much of what a client sends is not a request's body: header fields, and what frames chunks."""

from __future__ import annotations

from dataclasses import dataclass

from frontend.http.refused import RefusedRequest

# Of a body in chunks, or of one that comes byte by byte: each piece costs a call of the event loop's time.
_PIECES = 10_000
_BYTES_FOR_ONE_PIECE_MORE = 64
# The shortest frame of a chunk has five bytes.
_BYTES_OF_A_FRAME = 8
# Of memory, beyond its text: a tuple and two objects. Some 480 empty fields are too many, then.
_OF_A_FIELD = 128


@dataclass(slots=True)
class Framing:
    """Of one connection's newest request. `most`: bytes of a header section, or of a body's frames."""

    most: int
    in_header: bool = False
    in_body: bool = False
    _counted: int = 0
    _read: int = 0
    _body: int = 0
    _pieces: int = 0

    def begins(self) -> None:
        self.in_header, self.in_body = True, False
        self._counted = self._read = self._body = self._pieces = 0

    def header_ends(self) -> None:
        self.in_header, self.in_body = False, True
        self._counted = self._read = 0

    def ends(self) -> None:
        self.in_header = self.in_body = False

    def saw_field(self, length: int) -> None:
        """Of the request line, the header or the trailer. Raises RefusedRequest."""
        self._counted += length + _OF_A_FIELD
        self._check(self._counted)

    def saw_piece(self, length: int) -> None:
        """Of the body. Raises RefusedRequest."""
        self._body += length
        self._pieces += 1
        if self._pieces > _PIECES + self._body // _BYTES_FOR_ONE_PIECE_MORE:
            raise RefusedRequest(
                400, f"400 Bad Request: {self._pieces} chunks for {self._body} bytes of body are too many"
            )

    def saw_read(self, length: int) -> None:
        """After the parser has had it. What the parser keeps to itself counts too: an unfinished field, and
        frames of chunks. Raises RefusedRequest.
        """
        self._read += length
        if self.in_header:
            self._check(self._read)
        elif self.in_body:
            self._check(self._read - self._body - _BYTES_OF_A_FRAME * self._pieces)

    def _check(self, length: int) -> None:
        if length > self.most:
            raise RefusedRequest(431, "431 Request Header Fields Too Large")
