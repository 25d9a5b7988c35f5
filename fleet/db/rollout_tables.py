"""Tables of staged rollouts; in the same ``MetaData`` as the rest.

``watched`` times are seconds during which the engine watched the rollout: they stand still while
the server is down and do not jump with the wall clock.
"""

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
)

from fleet.db.schema import DIGEST, ID, metadata

WORD: Final = String(24)
SENTENCE: Final = String(500)

rollout: Final = Table(
    "rollout",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("bundle", DIGEST, ForeignKey("bundle.digest"), nullable=False),
    Column("slot", String(63), nullable=False),
    Column("spec", LargeBinary, nullable=False),
    Column("salt", String(64), nullable=False),
    Column("state", WORD, nullable=False, index=True),
    # Why it is in this state, for people.
    Column("reason", SENTENCE, nullable=False),
    # Grows with every change that an operator could have decided differently about.
    Column("revision", Integer, nullable=False),
    # The current stage: its `k`.
    Column("stage", Integer, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("created_by", String(100), nullable=False),
    Column("changed_s", Float, nullable=False),
    # The caller's Idempotency-Key: the same key again returns this rollout.
    Column("request_key", String(100), unique=True),
    Column("watched", Float, nullable=False),
    Column("ticked_s", Float),
    # When `watched` is this far, look for devices that were enrolled meanwhile.
    Column("join_at", Float, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until_s", Float, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("evidence_count", Integer, nullable=False),
    Column("evidence_head", String(64), nullable=False),
)

rollout_stage: Final = Table(
    "rollout_stage",
    metadata,
    Column("rollout", ID, ForeignKey("rollout.id"), nullable=False),
    Column("k", Integer, nullable=False),
    # Which stage of the specification this is; stages that add no device have no row.
    Column("number", Integer, nullable=False),
    Column("state", WORD, nullable=False),
    Column("small_stage", WORD, nullable=False),
    # Members by state, kept in the transaction that moves a member.
    Column("waiting", Integer, nullable=False, server_default="0"),
    Column("assigned", Integer, nullable=False, server_default="0"),
    Column("updating", Integer, nullable=False, server_default="0"),
    Column("committed", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("regressed", Integer, nullable=False, server_default="0"),
    Column("distrusted", Integer, nullable=False, server_default="0"),
    Column("gave_up", Integer, nullable=False, server_default="0"),
    Column("left", Integer, nullable=False, server_default="0"),
    Column("withdrawn", Integer, nullable=False, server_default="0"),
    Column("reverting", Integer, nullable=False, server_default="0"),
    Column("reverted", Integer, nullable=False, server_default="0"),
    Column("acknowledged_failures", Integer, nullable=False, server_default="0"),
    Column("acknowledged_distrusted", Integer, nullable=False, server_default="0"),
    Column("accepted", Boolean, nullable=False, server_default="0"),
    Column("opened_at", Float),
    Column("settled_at", Float),
    Column("evaluating_at", Float),
    Column("verdict", WORD, nullable=False, server_default=""),
    Column("verdict_reason", SENTENCE, nullable=False, server_default=""),
    PrimaryKeyConstraint("rollout", "k"),
)

rollout_member: Final = Table(
    "rollout_member",
    metadata,
    Column("rollout", ID, ForeignKey("rollout.id"), nullable=False),
    Column("device", ID, ForeignKey("device.id"), nullable=False, index=True),
    Column("k", Integer, nullable=False),
    # Order of admission within the rollout.
    Column("position", Integer, nullable=False),
    Column("state", WORD, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    # Attempts that ended by a transient reason.
    Column("transients", Integer, nullable=False, server_default="0"),
    # Generation of our newest assignment to it.
    Column("gen", Integer, nullable=False, server_default="0"),
    # What it ran before the first attempt, and that bundle's serial.
    Column("before", DIGEST),
    Column("before_serial", Integer),
    # `watched` times: not to be admitted before, and the start of the present state.
    Column("ready_at", Float, nullable=False, server_default="0"),
    Column("since_at", Float, nullable=False, server_default="0"),
    Column("changed_s", Float, nullable=False),
    Column("reason", String(32), nullable=False, server_default=""),
    Column("detail", SENTENCE, nullable=False, server_default=""),
    PrimaryKeyConstraint("rollout", "device"),
    Index(None, "rollout", "k", "state", "position"),
)

rollout_evidence: Final = Table(
    "rollout_evidence",
    metadata,
    # Appended and never changed; see fleet.rollouts.evidence.
    Column("rollout", ID, ForeignKey("rollout.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    PrimaryKeyConstraint("rollout", "seq"),
)
