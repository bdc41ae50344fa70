from base64 import b64encode

import pytest

from frontend.access.credentials import BadCredentials, secrets_of


def _basic(text: bytes) -> bytes:
    return b"Basic " + b64encode(text)


@pytest.mark.parametrize(
    ("headers", "secrets"),
    [
        ([], []),
        ([(b"host", b"a")], []),
        ([(b"authorization", b"Bearer key")], [b"key"]),
        ([(b"authorization", b"bearer   key ")], [b"key"]),
        ([(b"authorization", b"key")], [b"key"]),
        ([(b"authorization", b"")], []),
        ([(b"x-api-key", b"key")], [b"key"]),
        ([(b"authorization", _basic(b"user:key"))], [b"key"]),
        ([(b"authorization", _basic(b":k:ey"))], [b"k:ey"]),
        ([(b"authorization", _basic(b"key:"))], [b"key"]),
        ([(b"x-api-key", b"two"), (b"authorization", b"Bearer one")], [b"one", b"two"]),
        ([(b"authorization", "Bearer schlüssel".encode())], ["schlüssel".encode()]),
    ],
)
def test_a_key_comes_as_bearer_token_api_key_or_password(
    headers: list[tuple[bytes, bytes]], secrets: list[bytes]
) -> None:
    assert secrets_of(headers) == secrets


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer one"), (b"authorization", b"Bearer one")],
        [(b"x-api-key", b"one"), (b"x-api-key", b"two")],
        [(b"authorization", b"Digest secretive")],
        [(b"authorization", b"Basic secretive!")],
        [(b"authorization", b"Bearer " + b"secretive" * 100)],
        [(b"x-api-key", b"secretive" * 5000)],
        [(b"authorization", _basic(b"secretive:" * 2000))],
    ],
)
def test_other_headers_are_refused_without_their_text(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadCredentials) as refused:
        secrets_of(headers)
    assert "secretive" not in str(refused.value)
