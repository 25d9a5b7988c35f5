"""Tables of the server's state of record. Times are wall seconds since 1970 at the server.

Rows that a device caused carry the device's own id, never a number of ours, so that a repeat of
the same message meets the same key. Documents that were signed are kept as the bytes received.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ID: Final = String(64)
DIGEST: Final = String(71)  # "sha256:" and 64 hex digits

device: Final = Table(
    "device",
    metadata,
    Column("id", ID, primary_key=True),
    Column("site", String(100), nullable=False, server_default=""),
    Column("board", String(100), nullable=False, server_default=""),
    Column("labels", JSON, nullable=False),
    # One line of Mosquitto's password file without the name; the secret itself is never stored.
    Column("password_hash", String(300), nullable=False),
    Column("enrolled_s", Float, nullable=False),
    Column("decommissioned_s", Float),
    Column("online", Boolean, nullable=False, server_default="0"),
    # Boot of the newest `conn`; an offline will of an older boot does not take a device down.
    Column("boot", ID, nullable=False, server_default=""),
    Column("agent", String(64), nullable=False, server_default=""),
    Column("arch", String(32), nullable=False, server_default=""),
    Column("runtimes", JSON, nullable=False, server_default="[]"),
    Column("last_seen_s", Float),
)

boot: Final = Table(
    "boot",
    metadata,
    # Grows with every boot first heard of: a report of an older boot changes nothing any more.
    Column("id", Integer, primary_key=True),
    Column("device", ID, ForeignKey("device.id"), nullable=False),
    Column("boot", ID, nullable=False),
    Column("report_seq", Integer, nullable=False, server_default="0"),
    Column("first_seen_s", Float, nullable=False),
    UniqueConstraint("device", "boot"),
)

bundle: Final = Table(
    "bundle",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("name", String(63), nullable=False),
    Column("version", String(160), nullable=False),
    Column("serial", Integer, nullable=False),
    Column("task", String(32), nullable=False),
    Column("development", Boolean, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("keyid", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("pushed_s", Float, nullable=False),
    UniqueConstraint("name", "version"),
)

bundle_signature: Final = Table(
    "bundle_signature",
    metadata,
    Column("bundle", DIGEST, ForeignKey("bundle.digest"), nullable=False),
    Column("keyid", String(64), nullable=False),
    Column("sig", String(128), nullable=False),
    PrimaryKeyConstraint("bundle", "keyid"),
)

bundle_file: Final = Table(
    "bundle_file",
    metadata,
    Column("bundle", DIGEST, ForeignKey("bundle.digest"), nullable=False),
    Column("file", String(200), nullable=False),
    Column("sha256", String(64), nullable=False, index=True),
    Column("size_bytes", Integer, nullable=False),
    PrimaryKeyConstraint("bundle", "file"),
)

assignment: Final = Table(
    "assignment",
    metadata,
    # The present one per slot. Rows are replaced and never deleted, so that `gen` only grows.
    Column("device", ID, ForeignKey("device.id"), nullable=False),
    Column("slot", String(63), nullable=False),
    Column("gen", Integer, nullable=False),
    Column("bundle", DIGEST, ForeignKey("bundle.digest"), nullable=False, index=True),
    Column("rollout", ID),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("envelope", LargeBinary, nullable=False),
    Column("assigned_s", Float, nullable=False),
    PrimaryKeyConstraint("device", "slot"),
)

slot_state: Final = Table(
    "slot_state",
    metadata,
    # What the newest report of each device says about each of its slots.
    Column("device", ID, ForeignKey("device.id"), nullable=False),
    Column("slot", String(63), nullable=False),
    Column("boot", ID, nullable=False),
    Column("report_seq", Integer, nullable=False),
    Column("reported_s", Float, nullable=False),
    Column("gen", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("running", DIGEST, index=True),
    Column("previous", DIGEST),
    Column("target", DIGEST),
    Column("version", String(300), nullable=False, server_default=""),
    Column("serial", Integer, nullable=False, server_default="0"),
    Column("rollout", ID),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("reason", String(32)),
    Column("detail", String(2000), nullable=False, server_default=""),
    Column("preflight", JSON(none_as_null=True)),
    Column("probation", JSON(none_as_null=True)),
    PrimaryKeyConstraint("device", "slot"),
)

report: Final = Table(
    "report",
    metadata,
    # The last few reports of each device as received, for people who ask what happened.
    Column("id", Integer, primary_key=True),
    Column("device", ID, ForeignKey("device.id"), nullable=False),
    Column("boot", ID, nullable=False),
    Column("report_seq", Integer, nullable=False),
    Column("received_s", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index(None, "device", "id"),
)

stream: Final = Table(
    "stream",
    metadata,
    # Where each numbered sequence of windows stands.
    Column("device", ID, ForeignKey("device.id"), nullable=False),
    Column("boot", ID, nullable=False),
    Column("stream", ID, nullable=False),
    # All windows up to here are stored or were given up by the device: what an Ack says.
    Column("contiguous", Integer, nullable=False),
    # Highest window stored; above `contiguous` where frames came out of order.
    Column("highest", Integer, nullable=False),
    Column("windows", Integer, nullable=False),
    Column("shed", Integer, nullable=False),
    Column("updated_s", Float, nullable=False),
    PrimaryKeyConstraint("device", "boot", "stream"),
)

frame: Final = Table(
    "frame",
    metadata,
    # Stored frames never overlap: one that does is trimmed to the windows that are new.
    Column("id", Integer, primary_key=True),
    Column("device", ID, ForeignKey("device.id"), nullable=False),
    Column("boot", ID, nullable=False),
    Column("stream", ID, nullable=False),
    Column("seq_from", Integer, nullable=False),
    Column("seq_to", Integer, nullable=False),
    Column("t0", Float, nullable=False),
    Column("clock", String(10), nullable=False),
    Column("model", String(71), nullable=False),
    Column("received_s", Float, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("device", "boot", "stream", "seq_from"),
)

telemetry_total: Final = Table(
    "telemetry_total",
    metadata,
    # Running sums, kept in the transaction that stores the frames.
    Column("device", ID, ForeignKey("device.id"), nullable=False),
    Column("stream", ID, nullable=False),
    Column("model", String(71), nullable=False),
    Column("windows", Integer, nullable=False),
    Column("span_s", Float, nullable=False),
    Column("last_t", Float, nullable=False),
    Column("received_s", Float, nullable=False),
    Column("figures", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    PrimaryKeyConstraint("device", "stream", "model"),
)

alert: Final = Table(
    "alert",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("device", ID, ForeignKey("device.id"), nullable=False),
    Column("event_id", ID, nullable=False),
    Column("alert_id", ID, nullable=False),
    Column("boot", ID, nullable=False),
    Column("state", String(10), nullable=False),
    Column("rule", String(100), nullable=False, index=True),
    Column("severity", String(10), nullable=False),
    Column("wall", Float, nullable=False),
    Column("received_s", Float, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("device", "event_id"),
)

dead_letter: Final = Table(
    "dead_letter",
    metadata,
    # Messages that could not be taken, set aside so that they never block a stream; bounded.
    Column("id", Integer, primary_key=True),
    Column("received_s", Float, nullable=False),
    Column("device", ID, nullable=False),
    Column("topic", String(300), nullable=False),
    Column("cause", String(32), nullable=False),
    Column("detail", String(500), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

counter: Final = Table(
    "counter",
    metadata,
    # What was refused, repeated or dropped, by name, over the whole life of this database.
    Column("name", String(64), primary_key=True),
    Column("value", Integer, nullable=False),
)

doorbell: Final = Table(
    "doorbell",
    metadata,
    # Transactional outbox: written with the assignment, removed once the broker has taken it.
    Column("device", ID, ForeignKey("device.id"), primary_key=True),
    Column("gen", Integer, nullable=False),
    Column("rung_s", Float, nullable=False),
)

audit: Final = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at_s", Float, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("detail", JSON, nullable=False),
)
