"""The schema of the database, as steps from one version to the next.

- `presets`: `revision` is that of `catalog_state` when the row was written. A frontend that has read up to it
  has read this row.
- `catalog_state`: one row. Each change of `presets` increments `revision`, so that one read shows whether
  anything has changed.
- `blobs`: uploads, each until it expires.
- `responses`: stored responses, with `response_documents` for their texts, which are large, and
  `response_events` for the events of those that are streamed in the background: `frames` are consecutive
  events, the first of which has the sequence number `first`.
- `access_keys`: keys with the digests of their secrets; `revision` is that of `access_key_state`, as with
  presets. Revoked keys keep their row.
- `usage`: sums over requests, of which several frontends add to one row. `usage_writers`: the last batch that
  each frontend process has added, so that none is added twice.
- `removed_models`: models that were removed while hosts were away, and are to be deleted from their stores.
  `lease_unix_ns`: until then a frontend is at it. `removal_state`: one row, as `catalog_state`.
- `key_counts`: what each key has used of its limits, `key_streams` its requests in flight on each frontend,
  and `limiting_frontends` the leases of those frontends.
"""

from __future__ import annotations

from frontend.database.base import Connection, Driver

# Alembic's name: earlier versions used it, and share the database during updates.
_VERSIONS = "alembic_version"
# Never change a version, add the next one. 600: the length of the longest valid name.
_STEPS: dict[str, tuple[str, ...]] = {
    "0001": (
        "CREATE TABLE presets (key VARCHAR(600) NOT NULL PRIMARY KEY, name VARCHAR(600) NOT NULL, "
        "document TEXT NOT NULL, revision BIGINT NOT NULL)",
        "CREATE TABLE catalog_state (id INTEGER NOT NULL PRIMARY KEY, revision BIGINT NOT NULL)",
        "INSERT INTO catalog_state (id, revision) VALUES (1, 0)",
        "CREATE TABLE blobs (digest VARCHAR(71) NOT NULL PRIMARY KEY, size_bytes BIGINT NOT NULL, "
        "data BYTEA NOT NULL, expires_unix_ns BIGINT NOT NULL)",
        "CREATE INDEX ix_blobs_expires_unix_ns ON blobs (expires_unix_ns)",
    ),
    "0002": (
        "CREATE TABLE responses (id VARCHAR(64) NOT NULL PRIMARY KEY, owner VARCHAR(600) NOT NULL, "
        "previous_id VARCHAR(64) NOT NULL, status VARCHAR(16) NOT NULL, runner VARCHAR(64) NOT NULL, "
        "lease_unix_ns BIGINT NOT NULL, size_bytes BIGINT NOT NULL, created_unix_ns BIGINT NOT NULL, "
        "expires_unix_ns BIGINT NOT NULL)",
        "CREATE INDEX ix_responses_expires_unix_ns ON responses (expires_unix_ns)",
        "CREATE INDEX ix_responses_owner ON responses (owner, created_unix_ns)",
        "CREATE INDEX ix_responses_runner ON responses (runner)",
        "CREATE TABLE response_documents (id VARCHAR(64) NOT NULL PRIMARY KEY, document BYTEA NOT NULL, "
        "input BYTEA NOT NULL)",
        "CREATE TABLE response_events (id VARCHAR(64) NOT NULL, first BIGINT NOT NULL, "
        "frames BYTEA NOT NULL, PRIMARY KEY (id, first))",
    ),
    "0003": (
        "CREATE TABLE access_keys (id VARCHAR(64) NOT NULL PRIMARY KEY, document TEXT NOT NULL, "
        "revision BIGINT NOT NULL)",
        "CREATE INDEX ix_access_keys_revision ON access_keys (revision)",
        "CREATE TABLE access_key_state (id INTEGER NOT NULL PRIMARY KEY, revision BIGINT NOT NULL)",
        "INSERT INTO access_key_state (id, revision) VALUES (1, 0)",
    ),
    "0004": (
        "CREATE TABLE usage (day VARCHAR(10) NOT NULL, key VARCHAR(600) NOT NULL, "
        "model VARCHAR(600) NOT NULL, served VARCHAR(600) NOT NULL, key_name VARCHAR(600) NOT NULL, "
        "requests BIGINT NOT NULL, refusals BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL, "
        "cached_tokens BIGINT NOT NULL, generated_tokens BIGINT NOT NULL, queued_us BIGINT NOT NULL, "
        "running_us BIGINT NOT NULL, PRIMARY KEY (day, key, model, served))",
        "CREATE INDEX ix_usage_key ON usage (key, day)",
        "CREATE TABLE usage_writers (writer VARCHAR(64) NOT NULL PRIMARY KEY, batch BIGINT NOT NULL, "
        "day VARCHAR(10) NOT NULL)",
    ),
    "0005": (
        "CREATE TABLE key_counts (key_id VARCHAR(600) NOT NULL PRIMARY KEY, requests BIGINT NOT NULL, "
        "tokens BIGINT NOT NULL, at_unix_us BIGINT NOT NULL)",
        "CREATE INDEX ix_key_counts_at_unix_us ON key_counts (at_unix_us)",
        "CREATE TABLE key_streams (key_id VARCHAR(600) NOT NULL, frontend VARCHAR(64) NOT NULL, "
        "streams BIGINT NOT NULL, PRIMARY KEY (key_id, frontend))",
        "CREATE TABLE limiting_frontends (frontend VARCHAR(64) NOT NULL PRIMARY KEY, "
        "lease_unix_us BIGINT NOT NULL)",
    ),
    "0006": (
        "CREATE TABLE removed_models (host VARCHAR(64) NOT NULL, name VARCHAR(600) NOT NULL, "
        "manifest VARCHAR(71) NOT NULL, removed_unix_ns BIGINT NOT NULL, lease_unix_ns BIGINT NOT NULL, "
        "PRIMARY KEY (host, name))",
        "CREATE TABLE removal_state (id INTEGER NOT NULL PRIMARY KEY, revision BIGINT NOT NULL)",
        "INSERT INTO removal_state (id, revision) VALUES (1, 0)",
    ),
}


class SchemaError(Exception):
    """The database's schema is not known to this version."""


async def migrate(connection: Connection, driver: Driver) -> None:
    """Run the missing steps. Frontends that start together take turns. Raises SchemaError."""
    await connection.run(driver.lock_schema)
    if not await connection.rows(driver.find_table, _VERSIONS):
        await connection.run(f"CREATE TABLE {_VERSIONS} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    found = await connection.rows(f"SELECT version_num FROM {_VERSIONS}")
    version = str(found[0][0]) if found else ""
    for step in _missing(version):
        for statement in _STEPS[step]:
            await connection.run(statement)
        await connection.run(f"DELETE FROM {_VERSIONS}")
        await connection.run(f"INSERT INTO {_VERSIONS} (version_num) VALUES ($1)", step)


def _missing(version: str) -> list[str]:
    """The versions after it; all of them for an empty database."""
    known = list(_STEPS)
    if version and version not in known:
        raise SchemaError(f"the database has schema {version}, and this version knows {', '.join(known)}")
    return known[known.index(version) + 1 :] if version else known
