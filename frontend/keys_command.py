"""`drover-frontend keys`: makes, lists, revokes and rotates the database's keys."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from pydantic import ValidationError

from drover.errors import DroverError, InvalidRequest
from drover.json_value import Json
from frontend.access.key import Role
from frontend.access.key_rows import KeyRows
from frontend.access.secret import digest_of, new_id, new_secret
from frontend.access.stored_key import Digest, KeyDocument, KeySettings, StoredKey, first_problem
from frontend.database.database import Database
from frontend.settings import FrontendSettings

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_ABOUT = """Keys let clients use the server. A change counts within 2 seconds on its frontends.
The secret of a key is shown once, when it is made: what is stored is a digest of it."""
_UNIT_WORDS = "a number with s, m, h, d or w, like 90d"


def run(argv: Sequence[str]) -> int:
    """The exit status: 0, or 1 with an error on standard error; wrong usage exits with 2."""
    arguments = _parser().parse_args(argv)
    settings = FrontendSettings.load(
        ["--database-url", arguments.database_url] if arguments.database_url else []
    )
    work: Callable[[KeyRows, argparse.Namespace], Awaitable[str]] = arguments.work
    try:
        print(asyncio.run(_with_rows(settings, arguments, work)))  # noqa: T201 - it is the result
    except DroverError as error:
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        return _failed(f"{error.message}{cause}")
    except ValidationError as error:
        return _failed(first_problem(error))
    return 0


def _failed(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return 1


async def _with_rows(
    settings: FrontendSettings,
    arguments: argparse.Namespace,
    work: Callable[[KeyRows, argparse.Namespace], Awaitable[str]],
) -> str:
    database = Database(settings.database, settings.database_timeout_seconds)
    try:
        return await work(KeyRows(database), arguments)
    finally:
        await database.close()


async def _create(rows: KeyRows, arguments: argparse.Namespace) -> str:
    key_id = new_id()
    secret = new_secret(key_id)
    document = KeyDocument(
        name=arguments.name,
        role=arguments.role,
        models=tuple(arguments.models),
        requests_per_minute=arguments.requests_per_minute,
        tokens_per_minute=arguments.tokens_per_minute,
        streams=arguments.streams,
        priority=arguments.priority,
        weight=arguments.weight,
        expires_unix=arguments.expires,
        digests=(Digest(text=digest_of(secret)),),
        created_unix=time.time(),
    )
    if arguments.print:
        return _entry(key_id, document, secret, arguments.json)
    return _with_secret(await rows.add(key_id, document), secret, rows, arguments.json)


def _entry(key_id: str, document: KeyDocument, secret: str, as_json: bool) -> str:
    """The key for a file of --keys-file, and its secret."""
    fields = document.model_dump(mode="json", exclude_defaults=True, include=set(KeySettings.model_fields))
    entry = {"id": key_id, **fields, "digest": document.digests[0].text}
    if as_json:
        return json.dumps({"secret": secret, "entry": entry})
    return (
        f"the secret, which is shown once:\n{secret}\n\nthe entry for the list in the file of --keys-file:\n"
        f"{json.dumps(entry, indent=2)}"
    )


async def _list(rows: KeyRows, arguments: argparse.Namespace) -> str:
    keys = await rows.all() if rows.database.exists else ()
    if arguments.json:
        return json.dumps([_as_json(each) for each in keys], indent=2)
    if not keys:
        return _no_keys(rows)
    lines = [("ID", "NAME", "ROLE", "STATE", "MODELS", "LIMITS", "EXPIRES"), *map(_row, keys)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _no_keys(rows: KeyRows) -> str:
    return f"there are no keys in {rows.database}; make one: drover-frontend keys create --name NAME"


async def _found(rows: KeyRows, arguments: argparse.Namespace) -> StoredKey:
    """Raises InvalidRequest."""
    if not rows.database.exists:
        raise InvalidRequest(_no_keys(rows))
    return await rows.find(arguments.key)


async def _revoke(rows: KeyRows, arguments: argparse.Namespace) -> str:
    found = await _found(rows, arguments)
    if found.revoked_unix is None:
        found = await rows.change(found.key.id, revoked_unix=time.time(), digests=())
    if arguments.json:
        return json.dumps(_as_json(found))
    return f"revoked the key '{found.key.name}' (id {found.key.id}); frontends refuse it within 2 seconds"


async def _rotate(rows: KeyRows, arguments: argparse.Namespace) -> str:
    found = await _found(rows, arguments)
    if found.revoked_unix is not None:
        raise InvalidRequest(f"the key '{found.key.name}' is revoked; make another one: keys create")
    secret, now = new_secret(found.key.id), time.time()
    digests = (Digest(text=digest_of(secret)), *_kept(found, now, arguments.grace))
    return _with_secret(await rows.change(found.key.id, digests=digests), secret, rows, arguments.json)


def _kept(found: StoredKey, now: float, grace_seconds: float) -> Sequence[Digest]:
    """The digest of the secret so far, until its grace period ends."""
    current = [each for each in found.digests if each.until_unix is None]
    if not grace_seconds:
        return ()
    return [each.model_copy(update={"until_unix": now + grace_seconds}) for each in current]


def _with_secret(stored: StoredKey, secret: str, rows: KeyRows, as_json: bool) -> str:
    """For people with the database: in the one of another user the key would protect nothing."""
    if as_json:
        return json.dumps({**_as_json(stored), "secret": secret})
    return (
        f"key '{stored.key.name}' (id {stored.key.id}, role {stored.key.role}) in {rows.database}\n"
        "The secret is shown once; clients send it as 'Authorization: Bearer', Ollama's for Python with "
        f"OLLAMA_API_KEY:\n{secret}"
    )


def _as_json(stored: StoredKey) -> dict[str, Json]:
    return stored.described() | {
        "created": _time(stored.created_unix),
        "expires": _time(stored.key.expires_unix),
        "revoked": _time(stored.revoked_unix),
    }


def _row(stored: StoredKey) -> tuple[str, ...]:
    key, limits = stored.key, stored.key.limits
    words = [
        f"{count} {unit}"
        for count, unit in (
            (limits.requests_per_minute, "requests/min"),
            (limits.tokens_per_minute, "tokens/min"),
            (limits.streams, "stream" if limits.streams == 1 else "streams"),
        )
        if count is not None
    ]
    return (
        key.id,
        key.name,
        key.role.value,
        stored.state(),
        ",".join(key.models) or "all",
        ", ".join(words) or "none",
        _time(key.expires_unix) or "never",
    )


def _time(unix: float | None) -> str | None:
    return None if unix is None else datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds")


def _moment(text: str) -> float:
    """Unix seconds of `90d` from now, or of a date."""
    if _DURATION.fullmatch(text):
        return time.time() + _duration(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither {_UNIT_WORDS}, nor a date like 2027-01-31 or 2027-01-31T12:00:00+01:00"
        ) from None
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if at <= time.time():
        raise argparse.ArgumentTypeError(f"{text!r} is in the past")
    return at


def _duration(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not {_UNIT_WORDS}")
    return float(int(found[1]) * _SECONDS[found[2]])


def _patterns(text: str) -> list[str]:
    """At least one: an empty variable of a script must not allow all models."""
    patterns = [word.strip() for word in text.split(",") if word.strip()]
    if not patterns:
        raise argparse.ArgumentTypeError(f"{text!r} names no model; leave --models out to allow all")
    return patterns


def _add_shared(parser: argparse.ArgumentParser) -> None:
    """Options that may stand before the command or after it, and so have no defaults of their own."""
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    parser.add_argument(
        "--database-url",
        default=argparse.SUPPRESS,
        help=f"the frontends' database; else {FrontendSettings.environment_variable('database_url')}, or the "
        "default of a frontend of this user",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="drover-frontend keys", description=_ABOUT)
    _add_shared(parser)
    parser.set_defaults(json=False, database_url="")
    commands = parser.add_subparsers(required=True, metavar="create | list | revoke | rotate")
    shared = argparse.ArgumentParser(add_help=False)
    _add_shared(shared)
    create = commands.add_parser("create", parents=[shared], help="make a key")
    create.set_defaults(work=_create)
    create.add_argument("--name", required=True, help="whose key it is")
    create.add_argument("--role", choices=[role.value for role in Role], default=Role.USER.value)
    create.add_argument(
        "--models",
        type=_patterns,
        default=[],
        help="models that it may use, separated by commas; * and ? stand for any text: 'qwen3*,gemma3:270m'",
    )
    create.add_argument(
        "--print", action="store_true", help="store nothing: print an entry for a file of --keys-file"
    )
    create.add_argument("--requests-per-minute", type=int)
    create.add_argument("--tokens-per-minute", type=int)
    create.add_argument("--streams", type=int, help="requests in flight at a time")
    create.add_argument("--priority", type=int, help="the highest that its requests may ask for")
    create.add_argument("--weight", type=float, default=1.0, help="its share of a full queue; 1 by default")
    create.add_argument(
        "--expires", type=_moment, help=f"{_UNIT_WORDS}, or a date; it never expires without it"
    )
    listing = commands.add_parser("list", parents=[shared], help="list all keys, without their secrets")
    listing.set_defaults(work=_list)
    revoke = commands.add_parser("revoke", parents=[shared], help="refuse a key from now on")
    revoke.set_defaults(work=_revoke)
    revoke.add_argument("key", help="a name or an id")
    rotate = commands.add_parser("rotate", parents=[shared], help="give a key a new secret")
    rotate.set_defaults(work=_rotate)
    rotate.add_argument("key", help="a name or an id")
    rotate.add_argument(
        "--grace",
        type=_duration,
        default=0.0,
        help=f"how long the old secret stays valid: {_UNIT_WORDS}; not at all without it",
    )
    return parser
