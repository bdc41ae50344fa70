"""The secrets that a request presents: bearer token, x-api-key, or the password of basic authentication."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable

from frontend.access.secret import MAX_SECRET_BYTES

_AUTHORIZATION, _API_KEY = b"authorization", b"x-api-key"
_SEVERAL = {
    _AUTHORIZATION: "there are several authorization headers; send one",
    _API_KEY: "there are several x-api-key headers; send one",
}
# Of an Authorization header: base64 makes a third more, and there are a user's name and the scheme.
_MAX_HEADER_BYTES = 2 * MAX_SECRET_BYTES + 512


class BadCredentials(Exception):
    """The headers name no one secret. `str()`: why, without the secret."""


def secrets_of(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Those of the request, at most two; Authorization's first. Some clients send a placeholder in one header
    and the key in the other. Empty if there are none. Raises BadCredentials.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in (_AUTHORIZATION, _API_KEY):
            if name in found:
                raise BadCredentials(_SEVERAL[name])
            found[name] = value.strip()
    secrets = []
    if value := found.get(_AUTHORIZATION, b""):
        secrets.append(_of_authorization(value))
    if value := found.get(_API_KEY, b""):
        secrets.append(value)
    if any(len(each) > MAX_SECRET_BYTES for each in secrets):
        raise BadCredentials("the key is longer than any key of this server")
    return secrets


def _of_authorization(value: bytes) -> bytes:
    if len(value) > _MAX_HEADER_BYTES:
        raise BadCredentials("the key is longer than any key of this server")
    scheme, _, rest = value.partition(b" ")
    rest = rest.strip()
    match scheme.lower():
        case b"bearer":
            return rest
        case b"basic":
            return _password(rest)
        case _ if not rest:
            # A client that knows no scheme.
            return scheme
        case _:
            raise BadCredentials(
                "the Authorization header must be 'Bearer KEY', or Basic with KEY as password"
            )


def _password(encoded: bytes) -> bytes:
    try:
        decoded = b64decode(encoded, validate=True)
    except binascii.Error:
        raise BadCredentials("the Basic credentials are not base64") from None
    user, _, password = decoded.partition(b":")
    # `curl -u KEY:` and clients with one field for both.
    return password or user
