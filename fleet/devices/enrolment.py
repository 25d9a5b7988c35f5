"""How a device becomes known, and how it stops being trusted."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from edgeops.contracts.credential import Credential
from edgeops.errors import ContractError, TransitionError, UsageError
from edgeops.topics import check_id
from fleet.audit import record
from fleet.broker.passwords import hash_password
from fleet.db.schema import device, doorbell

SECRET_BYTES: Final = 32
MAX_LABELS: Final = 32
MAX_LABEL_LENGTH: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What an operator says about a new device."""

    device: str
    site: str = ""
    board: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def enrol(
    connection: Connection, wanted: Enrolment, *, tenant: str, reserved: str, now_s: float
) -> Credential:
    """Make a device known; return the only copy of its secret.

    A decommissioned id may be enrolled again: its generations go on counting, so that the device
    never meets a number twice.

    Args:
        connection: Inside a write transaction.
        wanted: Id and what selects it later.
        tenant: The server's tenant.
        reserved: The server's own user name at the broker.
        now_s: Wall seconds.

    Raises:
        ContractError: An id or label breaks its form.
        UsageError: The id is taken.
    """
    check_id(wanted.device, "device")
    if wanted.device == reserved:
        raise UsageError(f"the id {reserved!r} is the server's own")
    labels = check_labels(wanted.labels)
    for what, text in (("site", wanted.site), ("board", wanted.board)):
        _check_text(text, what)
    known = connection.execute(
        select(device.c.decommissioned_s).where(device.c.id == wanted.device)
    ).first()
    if known is not None and known.decommissioned_s is None:
        raise UsageError(f"device {wanted.device!r} is enrolled already; decommission it first")
    secret = secrets.token_urlsafe(SECRET_BYTES)
    values = {
        "site": wanted.site,
        "board": wanted.board,
        "labels": labels,
        "password_hash": hash_password(secret),
        "enrolled_s": now_s,
        "decommissioned_s": None,
        "online": False,
    }
    connection.execute(
        insert(device)
        .values(id=wanted.device, **values)
        .on_conflict_do_update(index_elements=["id"], set_=values)
    )
    record(connection, action="device.enrol", subject=wanted.device, now_s=now_s)
    return Credential(tenant=tenant, device=wanted.device, secret=secret)


def decommission(connection: Connection, device_id: str, *, now_s: float) -> None:
    """Stop trusting a device; what it sent stays.

    Raises:
        UsageError: No such device.
        TransitionError: It is decommissioned already.
    """
    row = connection.execute(
        select(device.c.decommissioned_s).where(device.c.id == device_id)
    ).first()
    if row is None:
        raise UsageError(f"no device {device_id!r} is enrolled")
    if row.decommissioned_s is not None:
        raise TransitionError(f"device {device_id!r} is decommissioned already")
    connection.execute(
        update(device)
        .where(device.c.id == device_id)
        .values(decommissioned_s=now_s, online=False, password_hash="")
    )
    connection.execute(delete(doorbell).where(doorbell.c.device == device_id))
    record(connection, action="device.decommission", subject=device_id, now_s=now_s)


def accounts(connection: Connection) -> dict[str, str]:
    """Return user name to stored password hash of every device that may connect."""
    rows = connection.execute(
        select(device.c.id, device.c.password_hash).where(device.c.decommissioned_s.is_(None))
    )
    return {row.id: row.password_hash for row in rows}


def password_hash(connection: Connection, device_id: str) -> str | None:
    """Return the stored hash of a device that may connect, else ``None``."""
    return connection.execute(
        select(device.c.password_hash).where(
            device.c.id == device_id, device.c.decommissioned_s.is_(None)
        )
    ).scalar_one_or_none()


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return ``labels``; raises ``ContractError`` where one is not ``id: short text``."""
    if len(labels) > MAX_LABELS:
        raise ContractError("labels", f"{len(labels)} of them, at most {MAX_LABELS}")
    for name, value in labels.items():
        check_id(name, "labels")
        _check_text(value, f"labels.{name}")
    return dict(labels)


def _check_text(text: str, what: str) -> None:
    if len(text) > MAX_LABEL_LENGTH or not (text.isprintable() or not text):
        raise ContractError(what, f"expected at most {MAX_LABEL_LENGTH} printable characters")
