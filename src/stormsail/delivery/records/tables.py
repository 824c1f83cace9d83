"""The tables of delivery's records. What a release has shipped is changed by a migration only."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA: Final = MetaData()

# SQLite counts rows up in INTEGER columns only.
_Counted = BigInteger().with_variant(Integer(), "sqlite")

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", _Counted, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    Column("principal", String(200), nullable=False),
    Column("via", String(20), nullable=False),
    Column("verb", String(60), nullable=False),
    Column("target", Text, nullable=False),
    Column("application", String(200), nullable=False),
    Column("account", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("idempotency_key", String(200), nullable=False),
    Column("state", String(20), nullable=False),
    Column("message", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("process", String(200), nullable=False),
    Index("audit_by_time", "at_ms", "id"),
    Index("audit_by_target", "target", "at_ms"),
    sqlite_autoincrement=True,
)
"""One row a change. Never deleted before its time, and changed once: when the change's outcome is known."""

ANSWERS: Final = Table(
    "answers",
    METADATA,
    Column("principal", String(200), primary_key=True),
    Column("idempotency_key", String(200), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("process", String(200), nullable=False),
    Column("status", Integer),
    Column("body", LargeBinary),
    Index("answers_by_time", "at_ms"),
)
"""What each idempotency key was answered; no status means that it was not answered yet."""

KEYS: Final = Table(
    "api_keys",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("grants", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
)
"""API keys by their public part. The secret is nowhere: only its hash."""
