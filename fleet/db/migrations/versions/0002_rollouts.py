"""Staged rollouts: rollouts, their stages, members and evidence.

Written out and not derived from ``fleet.db.rollout_tables``: a migration must go on meaning what
it meant when it was written.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"


def upgrade() -> None:
    """Make the tables; there is no way back: restore a copy of the database instead."""
    op.create_table(
        "rollout",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("bundle", sa.String(length=71), nullable=False),
        sa.Column("slot", sa.String(length=63), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("created_s", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("changed_s", sa.Float(), nullable=False),
        sa.Column("request_key", sa.String(length=100), nullable=True),
        sa.Column("watched", sa.Float(), nullable=False),
        sa.Column("ticked_s", sa.Float(), nullable=True),
        sa.Column("join_at", sa.Float(), nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until_s", sa.Float(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("evidence_count", sa.Integer(), nullable=False),
        sa.Column("evidence_head", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle"], ["bundle.digest"], name=op.f("fk_rollout_bundle_bundle")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout")),
        sa.UniqueConstraint("request_key", name=op.f("uq_rollout_request_key")),
    )
    op.create_index(op.f("ix_rollout_state"), "rollout", ["state"], unique=False)
    op.create_table(
        "rollout_stage",
        sa.Column("rollout", sa.String(length=64), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("small_stage", sa.String(length=24), nullable=False),
        sa.Column("waiting", sa.Integer(), server_default="0", nullable=False),
        sa.Column("assigned", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updating", sa.Integer(), server_default="0", nullable=False),
        sa.Column("committed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("regressed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("distrusted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("gave_up", sa.Integer(), server_default="0", nullable=False),
        sa.Column("left", sa.Integer(), server_default="0", nullable=False),
        sa.Column("withdrawn", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reverting", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reverted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acknowledged_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acknowledged_distrusted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("accepted", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("opened_at", sa.Float(), nullable=True),
        sa.Column("settled_at", sa.Float(), nullable=True),
        sa.Column("evaluating_at", sa.Float(), nullable=True),
        sa.Column("verdict", sa.String(length=24), server_default="", nullable=False),
        sa.Column("verdict_reason", sa.String(length=500), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollout.id"], name=op.f("fk_rollout_stage_rollout_rollout")
        ),
        sa.PrimaryKeyConstraint("rollout", "k", name=op.f("pk_rollout_stage")),
    )
    op.create_table(
        "rollout_member",
        sa.Column("rollout", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("transients", sa.Integer(), server_default="0", nullable=False),
        sa.Column("gen", sa.Integer(), server_default="0", nullable=False),
        sa.Column("before", sa.String(length=71), nullable=True),
        sa.Column("before_serial", sa.Integer(), nullable=True),
        sa.Column("ready_at", sa.Float(), server_default="0", nullable=False),
        sa.Column("since_at", sa.Float(), server_default="0", nullable=False),
        sa.Column("changed_s", sa.Float(), nullable=False),
        sa.Column("reason", sa.String(length=32), server_default="", nullable=False),
        sa.Column("detail", sa.String(length=500), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["device"], ["device.id"], name=op.f("fk_rollout_member_device_device")
        ),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollout.id"], name=op.f("fk_rollout_member_rollout_rollout")
        ),
        sa.PrimaryKeyConstraint("rollout", "device", name=op.f("pk_rollout_member")),
    )
    op.create_index(op.f("ix_rollout_member_device"), "rollout_member", ["device"], unique=False)
    op.create_index(
        op.f("ix_rollout_member_rollout_k_state_position"),
        "rollout_member",
        ["rollout", "k", "state", "position"],
        unique=False,
    )
    op.create_table(
        "rollout_evidence",
        sa.Column("rollout", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollout.id"], name=op.f("fk_rollout_evidence_rollout_rollout")
        ),
        sa.PrimaryKeyConstraint("rollout", "seq", name=op.f("pk_rollout_evidence")),
    )
