"""Which broker this server uses, and its care while the server runs."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.broker.child import BrokerChild, BrokerKind
from fleet.broker.mosquitto import find_mosquitto
from fleet.config import Address, BrokerSection, FleetConfig
from fleet.devices.accounts import AccountsFile
from fleet.state import read_token

logger = logging.getLogger(__name__)

MQTT_PORT: Final = 1883


@dataclass(frozen=True, slots=True)
class Login:
    """The server's own account at the broker."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.username!r})"


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that accepts connections."""

    child: BrokerChild
    address: Address


def chosen(section: BrokerSection) -> BrokerKind:
    """Return the broker to use: ``auto`` is Mosquitto where it is installed."""
    if section.kind != "auto":
        return BrokerKind(section.kind)
    return BrokerKind.MOSQUITTO if find_mosquitto() is not None else BrokerKind.BUILTIN


def login(section: BrokerSection) -> Login:
    """Return the server's account: a fresh password for a child, a given one elsewhere.

    Raises:
        StorageError: The password file cannot be read.
        ContractError: It holds no password.
    """
    if section.kind == "external" and section.password_file is not None:
        return Login(section.username, read_token(Path(section.password_file)))
    return Login(section.username, secrets.token_urlsafe(32))


@contextlib.asynccontextmanager
async def running(
    config: FleetConfig, folder: Path, accounts: AccountsFile
) -> AsyncIterator[RunningBroker]:
    """Have a broker, with every enrolled device's account, while the context is open.

    Raises:
        MissingExtraError: Mosquitto was demanded and is not installed.
        TransportError: It does not start, or does not answer.
    """
    section = config.broker
    kind = chosen(section)
    if kind is BrokerKind.EXTERNAL and section.address is not None:
        wanted = Address.parse(section.address, what="broker.address", default_port=MQTT_PORT)
    else:
        wanted = Address.parse(section.listen, what="broker.listen")
    child = BrokerChild(
        kind,
        folder,
        await accounts.refresh(),
        wanted.host,
        wanted.port,
        allow_remote=config.allow_remote,
    )
    try:
        host, port = await child.start()
        logger.info("broker: %s on %s", kind, Address(host, port))
        accounts.on_change(child.reload)
        yield RunningBroker(child, Address(host, port))
    finally:
        await asyncio.shield(child.stop())
