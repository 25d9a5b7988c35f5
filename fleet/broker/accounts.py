"""The two files that tell a broker who is who: written by the fleet, read by either broker."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeops.durable import write_atomic
from edgeops.errors import ContractError, StorageError
from fleet.broker.passwords import PasswordHash

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
SECRET_MODE: Final = 0o600

DEVICE_WRITES: Final = (
    "conn", "reported", "telemetry/#", "alert", "request/#", "response/#", "blob/#",
)  # fmt: skip
DEVICE_READS: Final = ("bell", "ack", "request/#", "response/#", "blob/#")


@dataclass(frozen=True, slots=True)
class BrokerAccounts:
    """Files in Mosquitto's format, shared by both brokers."""

    passwd: Path
    acl: Path


def write_accounts(
    folder: Path, users: Mapping[str, str], tenant: str, service_user: str
) -> BrokerAccounts:
    """Write who may connect and what they may read and write; tell the broker to reload after.

    A device's user name is its id: it has its own topics and nobody else's. The service user has
    all topics of the tenant and reads the broker's figures.

    Args:
        folder: Made if it is missing.
        users: User name to what ``hash_password`` returned, the service user among them.
        tenant: The tenant whose topics these are.
        service_user: The fleet's own user.

    Raises:
        ContractError: A name or hash is malformed, or the service user is missing.
        StorageError: The files cannot be written.
    """
    for name in (tenant, service_user, *users):
        if not NAME.fullmatch(name):
            raise ContractError("accounts", f"{name[:80]!r} is no id ([A-Za-z0-9_-]{{1,64}})")
    if service_user not in users:
        raise ContractError("accounts", f"the service user {service_user!r} has no password")
    for name, encoded in users.items():
        PasswordHash.parse(encoded, f"accounts.{name}")
    accounts = BrokerAccounts(folder / "passwd", folder / "acl")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}") from error
    passwd = "".join(f"{name}:{encoded}\n" for name, encoded in sorted(users.items()))
    write_atomic(accounts.acl, acl_text(tenant, service_user).encode(), mode=SECRET_MODE)
    write_atomic(accounts.passwd, passwd.encode(), mode=SECRET_MODE)
    return accounts


def acl_text(tenant: str, service_user: str) -> str:
    """Return the access file of one tenant; the same whatever devices there are."""
    own = f"eo/1/{tenant}/%u"
    lines = [
        f"user {service_user}",
        f"topic readwrite eo/1/{tenant}/#",
        "topic read $SYS/#",
        "",
        *(f"pattern write {own}/{name}" for name in DEVICE_WRITES),
        *(f"pattern read {own}/{name}" for name in DEVICE_READS),
    ]
    return "\n".join(lines) + "\n"
