"""Mosquitto as our child: where it is, and a configuration without its dangerous defaults."""

import getpass
import os
import shutil
from pathlib import Path
from typing import Final

from edgeops.durable import write_atomic
from edgeops.errors import ContractError, StorageError
from fleet.broker.accounts import BrokerAccounts
from fleet.broker.limits import Limits

SYSTEM_FOLDERS: Final = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")


def find_mosquitto() -> Path | None:
    """Return the program, looked for on PATH and where packages put daemons."""
    for path in (None, os.pathsep.join(SYSTEM_FOLDERS)):
        if (found := shutil.which("mosquitto", path=path)) is not None:
            return Path(found)
    return None


def write_config(
    folder: Path, accounts: BrokerAccounts, *, host: str, port: int, limits: Limits
) -> Path:
    """Write ``mosquitto.conf`` into ``folder`` and return its path.

    Raises:
        ContractError: A path cannot be said in Mosquitto's line based format.
        StorageError: The folder or file cannot be written.
    """
    data = folder / "mosquitto"
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageError(f"cannot make {data}: {error.strerror}") from error
    for path in (data, accounts.passwd, accounts.acl):
        if not str(path).isprintable():
            raise ContractError("mosquitto.conf", f"the path {str(path)!r} is not printable")
    lines = [
        f"listener {port} {host}",
        "allow_anonymous false",
        # Else the thief of one device's password could push every other device off by its id.
        "use_username_as_clientid true",
        f"password_file {accounts.passwd.resolve()}",
        f"acl_file {accounts.acl.resolve()}",
        "persistence true",
        f"persistence_location {data.resolve()}/",
        "autosave_interval 30",  # seconds; 1800 by default is what a power cut would cost
        "persistent_client_expiration 7d",
        f"max_queued_messages {limits.max_queued_messages}",  # 1000 would drop most of a burst
        f"max_queued_bytes {limits.max_queued_bytes}",
        f"max_inflight_messages {limits.max_inflight}",
        f"max_packet_size {limits.max_packet_bytes}",
        f"max_connections {limits.max_connections}",
        "max_keepalive 65535",
        "set_tcp_nodelay true",  # else 40 ms per request and response
        "sys_interval 10",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",  # says when it is ready
        "connection_messages false",
    ]
    if os.geteuid() == 0:
        # Mosquitto would become the user "mosquitto", who cannot read our files.
        lines.insert(0, f"user {getpass.getuser()}")
    path = data / "mosquitto.conf"
    write_atomic(path, ("\n".join(lines) + "\n").encode(), mode=0o600)
    return path
