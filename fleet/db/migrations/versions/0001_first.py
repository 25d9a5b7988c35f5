"""The first schema: devices, bundles, assignments, reports, frames, alerts.

Written out and not derived from ``fleet.db.schema``: a migration must go on meaning what it
meant when it was written.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None


def upgrade() -> None:
    """Make the tables; there is no way back: restore a copy of the database instead."""
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "bundle",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.String(length=160), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("development", sa.Boolean(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("keyid", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("pushed_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_bundle")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_bundle_name_version")),
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("received_s", sa.Float(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.String(length=300), nullable=False),
        sa.Column("cause", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.String(length=500), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter")),
    )
    op.create_table(
        "device",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=100), server_default="", nullable=False),
        sa.Column("board", sa.String(length=100), server_default="", nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("password_hash", sa.String(length=300), nullable=False),
        sa.Column("enrolled_s", sa.Float(), nullable=False),
        sa.Column("decommissioned_s", sa.Float(), nullable=True),
        sa.Column("online", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("boot", sa.String(length=64), server_default="", nullable=False),
        sa.Column("agent", sa.String(length=64), server_default="", nullable=False),
        sa.Column("arch", sa.String(length=32), server_default="", nullable=False),
        sa.Column("runtimes", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("last_seen_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("rule", sa.String(length=100), nullable=False),
        sa.Column("severity", sa.String(length=10), nullable=False),
        sa.Column("wall", sa.Float(), nullable=False),
        sa.Column("received_s", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_alert_device_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
        sa.UniqueConstraint("device", "event_id", name=op.f("uq_alert_device_event_id")),
    )
    op.create_index(op.f("ix_alert_received_s"), "alert", ["received_s"], unique=False)
    op.create_index(op.f("ix_alert_rule"), "alert", ["rule"], unique=False)
    op.create_table(
        "assignment",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=63), nullable=False),
        sa.Column("gen", sa.Integer(), nullable=False),
        sa.Column("bundle", sa.String(length=71), nullable=False),
        sa.Column("rollout", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("assigned_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle"], ["bundle.digest"], name=op.f("fk_assignment_bundle_bundle")
        ),
        sa.ForeignKeyConstraint(
            ["device"], ["device.id"], name=op.f("fk_assignment_device_device")
        ),
        sa.PrimaryKeyConstraint("device", "slot", name=op.f("pk_assignment")),
    )
    op.create_index(op.f("ix_assignment_bundle"), "assignment", ["bundle"], unique=False)
    op.create_table(
        "boot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("report_seq", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_seen_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_boot_device_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_boot")),
        sa.UniqueConstraint("device", "boot", name=op.f("uq_boot_device_boot")),
    )
    op.create_table(
        "bundle_file",
        sa.Column("bundle", sa.String(length=71), nullable=False),
        sa.Column("file", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle"], ["bundle.digest"], name=op.f("fk_bundle_file_bundle_bundle")
        ),
        sa.PrimaryKeyConstraint("bundle", "file", name=op.f("pk_bundle_file")),
    )
    op.create_index(op.f("ix_bundle_file_sha256"), "bundle_file", ["sha256"], unique=False)
    op.create_table(
        "bundle_signature",
        sa.Column("bundle", sa.String(length=71), nullable=False),
        sa.Column("keyid", sa.String(length=64), nullable=False),
        sa.Column("sig", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle"], ["bundle.digest"], name=op.f("fk_bundle_signature_bundle_bundle")
        ),
        sa.PrimaryKeyConstraint("bundle", "keyid", name=op.f("pk_bundle_signature")),
    )
    op.create_table(
        "doorbell",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("gen", sa.Integer(), nullable=False),
        sa.Column("rung_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_doorbell_device_device")),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_doorbell")),
    )
    op.create_table(
        "frame",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("seq_from", sa.Integer(), nullable=False),
        sa.Column("seq_to", sa.Integer(), nullable=False),
        sa.Column("t0", sa.Float(), nullable=False),
        sa.Column("clock", sa.String(length=10), nullable=False),
        sa.Column("model", sa.String(length=71), nullable=False),
        sa.Column("received_s", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_frame_device_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_frame")),
        sa.UniqueConstraint(
            "device",
            "boot",
            "stream",
            "seq_from",
            name=op.f("uq_frame_device_boot_stream_seq_from"),
        ),
    )
    op.create_index(op.f("ix_frame_received_s"), "frame", ["received_s"], unique=False)
    op.create_table(
        "report",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("report_seq", sa.Integer(), nullable=False),
        sa.Column("received_s", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_report_device_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
    )
    op.create_index(op.f("ix_report_device_id"), "report", ["device", "id"], unique=False)
    op.create_table(
        "slot_state",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=63), nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("report_seq", sa.Integer(), nullable=False),
        sa.Column("reported_s", sa.Float(), nullable=False),
        sa.Column("gen", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("running", sa.String(length=71), nullable=True),
        sa.Column("previous", sa.String(length=71), nullable=True),
        sa.Column("target", sa.String(length=71), nullable=True),
        sa.Column("version", sa.String(length=300), server_default="", nullable=False),
        sa.Column("serial", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rollout", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.String(length=2000), server_default="", nullable=False),
        sa.Column("preflight", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("probation", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["device"], ["device.id"], name=op.f("fk_slot_state_device_device")
        ),
        sa.PrimaryKeyConstraint("device", "slot", name=op.f("pk_slot_state")),
    )
    op.create_index(op.f("ix_slot_state_running"), "slot_state", ["running"], unique=False)
    op.create_table(
        "stream",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("contiguous", sa.Integer(), nullable=False),
        sa.Column("highest", sa.Integer(), nullable=False),
        sa.Column("windows", sa.Integer(), nullable=False),
        sa.Column("shed", sa.Integer(), nullable=False),
        sa.Column("updated_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_stream_device_device")),
        sa.PrimaryKeyConstraint("device", "boot", "stream", name=op.f("pk_stream")),
    )
    op.create_table(
        "telemetry_total",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=71), nullable=False),
        sa.Column("windows", sa.Integer(), nullable=False),
        sa.Column("span_s", sa.Float(), nullable=False),
        sa.Column("last_t", sa.Float(), nullable=False),
        sa.Column("received_s", sa.Float(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device"], ["device.id"], name=op.f("fk_telemetry_total_device_device")
        ),
        sa.PrimaryKeyConstraint("device", "stream", "model", name=op.f("pk_telemetry_total")),
    )
