"""``edgeops fleet serve`` and what else needs the server's own modules."""

import asyncio
import logging
import signal
from pathlib import Path

from edgeops import logs
from edgeops.console import print_json, say
from edgeops.durable import write_atomic
from edgeops.errors import ContractError
from fleet import brokers, service
from fleet.broker.accounts import BrokerAccounts, write_accounts
from fleet.broker.limits import Limits
from fleet.broker.mosquitto import write_config
from fleet.broker.passwords import hash_password
from fleet.config import Address, load
from fleet.db.engine import FILE, Database
from fleet.devices import enrolment
from fleet.state import Endpoints


def serve(path: Path | None) -> None:
    """Serve until SIGTERM or SIGINT; see ``fleet.service.serve`` for the errors."""
    config = load(path)
    if logging.getLogger().level > logging.INFO:  # nobody asked for more
        logs.set_up(0, default=logging.INFO)

    logging.getLogger("alembic").setLevel(logging.WARNING)  # our own line says what it did

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await service.serve(config, stop, _say_ready)

    asyncio.run(run())


def _say_ready(endpoints: Endpoints) -> None:
    say(
        f"fleet server: operators {endpoints.api}, devices {endpoints.device},"
        f" {endpoints.broker} broker {endpoints.mqtt}"
    )
    print_json(endpoints)


def write_broker_config(path: Path | None, out: Path, listen: str) -> None:
    """Write ``mosquitto.conf``, ``passwd`` and ``acl`` for a broker that somebody else runs.

    The server's own password is the one in ``broker.password_file``, where the configuration
    names it, else a new one in ``OUT/server.password``.

    Raises:
        StorageError: The database or the folder cannot be used.
        ContractError: An address or the configuration is damaged.
    """
    config = load(path)
    address = Address.parse(listen, what="--listen")
    if address.port == 0:
        raise ContractError("--listen", "a broker that somebody else runs needs its port")
    login = brokers.login(config.broker)
    users = {login.username: hash_password(login.password)}
    database_file = config.state() / FILE
    if database_file.exists():
        database = Database(database_file)
        try:
            users |= asyncio.run(database.read(enrolment.accounts))
        finally:
            database.close()
    accounts: BrokerAccounts = write_accounts(out, users, config.tenant, login.username)
    write_config(out, accounts, host=address.host, port=address.port, limits=Limits())
    if config.broker.password_file is None:
        write_atomic(out / "server.password", login.password.encode() + b"\n", mode=0o600)
    say(f"{out}: passwd and acl of {len(users)} accounts, mosquitto/mosquitto.conf")
    say("write them again and send the broker SIGHUP after devices were enrolled")
