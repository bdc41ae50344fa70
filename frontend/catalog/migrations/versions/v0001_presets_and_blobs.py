"""Presets, their revision, and blobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "presets",
        sa.Column("key", sa.String(600), primary_key=True),
        sa.Column("name", sa.String(600), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    state = op.create_table(
        "catalog_state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(state, [{"id": 1, "revision": 0}])
    op.create_table(
        "blobs",
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("expires_unix_ns", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_blobs_expires_unix_ns", "blobs", ["expires_unix_ns"])


def downgrade() -> None:
    for table in ("blobs", "catalog_state", "presets"):
        op.drop_table(table)
