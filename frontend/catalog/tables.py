"""The tables of the catalogue. A change here needs a migration in migrations/versions/."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text

# A name of four parts, the longest that is valid, in letters of one case.
_KEY_LENGTH = 600
_DIGEST_LENGTH = 71

metadata = MetaData()

presets = Table(
    "presets",
    metadata,
    Column("key", String(_KEY_LENGTH), primary_key=True),
    Column("name", String(_KEY_LENGTH), nullable=False),
    Column("document", Text, nullable=False),
    # Of `catalog_state` when it was written: who has seen that much has seen this row.
    Column("revision", BigInteger, nullable=False),
)

# One row. Each change of `presets` counts `revision` up, so that one read tells others whether there is one.
catalog_state = Table(
    "catalog_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", String(_DIGEST_LENGTH), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("expires_unix_ns", BigInteger, nullable=False, index=True),
)
