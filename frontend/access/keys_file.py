"""Reads keys from a file, or from a folder as Kubernetes mounts a Secret.

A file has a JSON list of entries. In a folder each file has entries too, or a plain secret: then it is a key
of the role user, named like the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError, model_validator

from frontend.access.secret import MAX_SECRET_BYTES, check_digest, is_id
from frontend.access.stored_key import Digest, KeySettings, StoredKey, first_problem

_MAX_BYTES = 16 * 1024 * 1024
_MAX_KEYS = 100_000
_MIN_SECRET = 16


def _check_secret(text: str) -> str:
    """Plain secrets may be another system's; short ones could be guessed."""
    if not (text.isascii() and text.isprintable()) or " " in text or len(text) > MAX_SECRET_BYTES:
        raise ValueError(f"a secret must be ASCII without spaces, of at most {MAX_SECRET_BYTES} characters")
    if len(text) < _MIN_SECRET:
        raise ValueError(f"a secret must have at least {_MIN_SECRET} characters")
    return text


def _check_id(text: str) -> str:
    if not is_id(text):
        raise ValueError("an id has at most 64 letters, digits, dots and hyphens")
    return text


class FileEntry(KeySettings):
    """A key as it is written in a file: with `secret`, or with `id` and `digest` as `keys create --print`
    prints them.
    """

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, AfterValidator(_check_id)] | None = None
    secret: Annotated[str, AfterValidator(_check_secret)] | None = None
    digest: Annotated[str, AfterValidator(check_digest)] | None = None
    expires: datetime | None = None

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        if (self.secret is None) == (self.digest is None):
            raise ValueError(f"key '{self.name}': it must have either a secret or a digest")
        if self.digest is not None and self.id is None:
            raise ValueError(f"key '{self.name}': a digest needs its id, which the secret has")
        return self

    @property
    def key_id(self) -> str:
        """Else the name's, so that a new secret under the same name is the same key."""
        if self.id is not None:
            return self.id
        return (
            self.name
            if is_id(self.name)
            else f"file-{blake2b(self.name.encode(), digest_size=8).hexdigest()}"
        )

    def as_stored(self) -> StoredKey:
        expires = self.expires_unix
        if self.expires is not None:
            moment = self.expires if self.expires.tzinfo else self.expires.replace(tzinfo=UTC)
            expires = moment.timestamp()
        key = self.model_copy(update={"expires_unix": expires}).as_key(self.key_id)
        if self.digest is not None:
            return StoredKey(key, (Digest(text=self.digest),))
        return StoredKey(key, (), plain_digest=blake2b((self.secret or "").encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class FileContents:
    """`plain`: the secrets that are written as they are, with their keys' ids."""

    keys: dict[str, StoredKey]
    plain: dict[str, str]


Signature = tuple[tuple[str, int, int, int], ...]
_ENTRIES = TypeAdapter(list[FileEntry])


def signature_of(path: Path) -> Signature:
    """What changes when the keys do. Raises OSError."""
    stats = [(str(file), file.stat()) for file in _files(path)]
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def read_keys(path: Path) -> FileContents:
    """Raises ValueError, whose text has no secret."""
    try:
        entries = [entry for file in _files(path) for entry in _entries_of(file, path.is_dir())]
    except OSError as error:
        raise ValueError(f"{error.filename or path}: {error.strerror}") from error
    contents = FileContents({}, {})
    for entry in entries:
        key_id = entry.key_id
        if key_id in contents.keys:
            raise ValueError(f"two keys have the id or the name '{key_id}'")
        if entry.secret is not None:
            if entry.secret in contents.plain:
                raise ValueError(f"the keys '{contents.plain[entry.secret]}' and '{key_id}' have one secret")
            contents.plain[entry.secret] = key_id
        contents.keys[key_id] = entry.as_stored()
    if len(contents.keys) > _MAX_KEYS:
        raise ValueError(f"there are {len(contents.keys)} keys, and at most {_MAX_KEYS} are read")
    return contents


def check_keys_file(value: str) -> str:
    """Return the path of readable keys unchanged. Raises ValueError."""
    if value:
        read_keys(Path(value))
    return value


def _files(path: Path) -> list[Path]:
    """Of a folder without those that begin with a dot, such as Kubernetes' own `..data`."""
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.iterdir() if not each.name.startswith(".") and each.is_file())


def _entries_of(file: Path, in_folder: bool) -> Iterator[FileEntry]:
    if file.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{file}: it is longer than {_MAX_BYTES} bytes")
    try:
        text = file.read_text(encoding="utf-8").strip()
        if in_folder and not text.startswith(("[", "{")):
            yield FileEntry(name=file.name, secret=text)
        else:
            yield from _ENTRIES.validate_json(f"[{text}]" if text.startswith("{") else text)
    except UnicodeDecodeError:
        raise ValueError(f"{file}: it is not UTF-8") from None
    except ValidationError as error:
        raise ValueError(f"{file}: {first_problem(error)}") from None
