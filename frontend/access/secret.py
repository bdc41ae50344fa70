"""A key's secret: its form, and the digest that is stored in its place.

`drv_ID_RANDOM`: the prefix lets scanners of repositories find it, the id lets a server find the one digest to
compare it with. Digests are scrypt's, in the PHC string format: `$scrypt$ln=14,r=8,p=1$SALT$HASH`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from string import ascii_letters, digits

PREFIX = "drv"
# Longest credential that is read at all; a secret has 64 characters.
MAX_SECRET_BYTES = 512
_ID_BYTES = 8
# 256 bits, in characters that a double click selects and no shell reads.
_ALPHABET, _RANDOM_CHARACTERS = ascii_letters + digits, 43
_ID = r"[A-Za-z0-9.-]{1,64}"
_SECRET = re.compile(rf"{PREFIX}_(?P<id>{_ID})_[A-Za-z0-9_-]{{20,256}}".encode())
# 16 MiB and about 50 ms for each try.
_LOG2_COST, _BLOCK, _LANES = 14, 8, 1
_SALT_BYTES, _HASH_BYTES = 16, 32
_DIGEST = re.compile(
    r"\$scrypt\$ln=(?P<cost>[0-9]{1,2}),r=(?P<block>[0-9]{1,2}),p=(?P<lanes>[0-9])"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,88})\$(?P<hash>[A-Za-z0-9+/]{43})"
)
# Digests in files come from outside: none may take more memory or time than these allow.
_MAX_LOG2_COST, _MAX_BLOCK, _MAX_LANES = 16, 8, 2


def new_id() -> str:
    return secrets.token_hex(_ID_BYTES)


def is_id(text: str) -> bool:
    return re.fullmatch(_ID, text) is not None


def new_secret(key_id: str) -> str:
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return f"{PREFIX}_{key_id}_{random}"


def id_of(secret: bytes) -> str | None:
    """The id of the key that this is a secret of; None for text in another form."""
    found = _SECRET.fullmatch(secret) if len(secret) <= MAX_SECRET_BYTES else None
    return found["id"].decode() if found else None


def digest_of(secret: str, log2_cost: int = _LOG2_COST) -> str:
    """Takes about 50 ms at the default cost."""
    salt = secrets.token_bytes(_SALT_BYTES)
    made = _scrypt(secret.encode(), salt, log2_cost, _BLOCK, _LANES)
    return f"$scrypt$ln={log2_cost},r={_BLOCK},p={_LANES}${_encoded(salt)}${_encoded(made)}"


def check_digest(text: str) -> str:
    """Return a digest that `matches` can use unchanged. Raises ValueError."""
    found = _DIGEST.fullmatch(text)
    if found is None:
        raise ValueError("it is no digest as `drover-frontend keys create --print` makes it")
    cost, block, lanes = int(found["cost"]), int(found["block"]), int(found["lanes"])
    if not (1 <= cost <= _MAX_LOG2_COST and 1 <= block <= _MAX_BLOCK and 1 <= lanes <= _MAX_LANES):
        raise ValueError(
            f"its cost is out of range: ln must be at most {_MAX_LOG2_COST}, r at most {_MAX_BLOCK} and p at "
            f"most {_MAX_LANES}"
        )
    return text


def matches(secret: bytes, digest: str) -> bool:
    """Whether the digest is the secret's. Takes about 50 ms, outside the interpreter's lock."""
    found = _DIGEST.fullmatch(check_digest(digest))
    assert found is not None, "check_digest raises"
    made = _scrypt(
        secret, _decoded(found["salt"]), int(found["cost"]), int(found["block"]), int(found["lanes"])
    )
    return hmac.compare_digest(made, _decoded(found["hash"]))


def _scrypt(secret: bytes, salt: bytes, log2_cost: int, block: int, lanes: int) -> bytes:
    needed = 128 * block * (2**log2_cost + lanes + 2)
    return hashlib.scrypt(
        secret, salt=salt, n=2**log2_cost, r=block, p=lanes, maxmem=2 * needed, dklen=_HASH_BYTES
    )


def _encoded(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))
